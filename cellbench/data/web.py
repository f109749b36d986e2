"""HTTP requests with time limits and distinct errors."""

import http.client
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from cellbench.version import __version__

CHUNK = 2**16


class TransferInterrupted(Exception):
    """Temporary connection failure: another attempt may succeed."""


class ServerUnreachable(TransferInterrupted):
    """The server cannot be reached: retry only if it was reached before."""


class PartialDownloadMismatch(TransferInterrupted):
    """The partial download does not belong to the file on the server."""


class DownloadRefused(Exception):
    """Permanent download failure; the message is the reason, without a full stop."""


def ask(
    url: str, headers: dict[str, str], *, within_s: float, timeout_s: float
) -> tuple[Any, bytes]:
    """Send a GET request and wait for the first bytes of the body.

    The request runs in a thread that is abandoned at the time limit: a name look-up has no timeout,
    each of several addresses has its own, and a server may send its headers byte by byte.

    Args:
        url: http or https address.
        headers: headers besides the default ones.
        within_s: seconds for everything up to the first byte.
        timeout_s: seconds without a byte, for the reads that follow.

    Returns:
        The open response, which the caller closes, and the first bytes; b"" if there are none.

    Raises:
        TransferInterrupted: another attempt may succeed; `ServerUnreachable` and
            `PartialDownloadMismatch` are special cases.
        DownloadRefused: another attempt cannot succeed.
    """
    future: Future[tuple[Any, bytes]] = Future()

    def work() -> None:
        try:
            future.set_result(_answer(url, headers, timeout_s))
        except BaseException as error:
            future.set_exception(error)

    def close_late(late: Future[tuple[Any, bytes]]) -> None:
        if late.exception() is None:
            late.result()[0].close()

    threading.Thread(target=work, daemon=True, name="cellbench-download").start()
    try:
        return future.result(timeout=within_s)
    except TimeoutError as error:
        future.add_done_callback(close_late)
        raise TransferInterrupted("the server does not answer") from error


def reason(error: object) -> str:
    """Return the message of an exception on one line; its type's name without a message."""
    words = str(getattr(error, "strerror", None) or error)
    return " ".join(words.split()) or type(error).__name__


def _answer(url: str, headers: dict[str, str], timeout_s: float) -> tuple[Any, bytes]:
    try:
        request = urllib.request.Request(
            _ascii(url),
            headers={
                "User-Agent": f"cellbench/{__version__}",
                "Accept-Encoding": "identity",
                **headers,
            },
        )
        response = _opener().open(request, timeout=timeout_s)
        try:
            return response, response.read1(CHUNK)
        except BaseException:
            response.close()
            raise
    except urllib.error.HTTPError as error:
        with error:
            words = f"the server answers {error.code} {reason(error.reason)}".strip()
        if error.code == 416:
            raise PartialDownloadMismatch("the server has fewer bytes than are here") from error
        if error.code in {408, 425, 429} or error.code >= 500:
            raise TransferInterrupted(words) from error
        raise DownloadRefused(words) from error
    except TimeoutError as error:
        raise TransferInterrupted("the server does not answer") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionResetError | TimeoutError | BrokenPipeError):
            raise TransferInterrupted(f"the connection breaks ({reason(error.reason)})") from error
        host = urlsplit(url).hostname
        raise ServerUnreachable(f"{host} cannot be reached ({reason(error.reason)})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadRefused(f"the address is malformed ({reason(error)})") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferInterrupted(f"the connection breaks ({reason(error)})") from error


def _ascii(url: str) -> str:
    """Percent-encode an address as a browser would, keeping what is already encoded."""
    parts = urlsplit(url)
    path, query = (quote(piece, safe="%/:=&?~+!$,;'@()*[]") for piece in (parts.path, parts.query))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


class Redirects(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows only http and https, and from https only https."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the redirected request.

        Raises:
            DownloadRefused: the new address has another scheme.
        """
        schemes = {"https"} if urlsplit(req.full_url).scheme == "https" else {"http", "https"}
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise DownloadRefused(f"it leads on to {newurl!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Build an opener for HTTP only (the default one also reads files), with proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener
