"""HTTP server of the viewer, on the loopback address.

The URL contains a secret token. A request without it, with another host name (DNS rebinding), or
for other paths than those below gets 404 without content. No file is served by its name: pictures
are addressed by their index in the tables.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cellbench.counting.view_session import ViewSession
from cellbench.errors import UserError
from cellbench.files.reading import parse_json

_ASSETS = {
    "": ("view.html", "text/html; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "canvas.js": ("canvas.js", "text/javascript; charset=utf-8"),
}
_FOLDER = Path(__file__).parent / "view_assets"
_MOST_BODY_BYTES = 16 * 2**20
_IDLE_S = 60.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ViewServer(ThreadingHTTPServer):
    """HTTP server of one viewer session.

    Attributes:
        session: the session shown.
        token: secret first part of every path.
    """

    daemon_threads = True

    def __init__(self, session: ViewSession, *, port: int = 0) -> None:
        """Listen on 127.0.0.1.

        Args:
            session: the session to show.
            port: 0 for any free port.

        Raises:
            UserError: the port is taken.
        """
        self.session = session
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} cannot be used ({(error.strerror or str(error)).lower()}); leave out "
                "--port to take a free one."
            ) from error

    @property
    def address(self) -> str:
        """URL for the browser."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Accepted values of the Host header."""
        return (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "cellbench"
    sys_version = ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """Send the page, its scripts and styles, the session's state as JSON, or a tile."""
        parts = self._parts()
        if parts is None:
            return self._send(HTTPStatus.NOT_FOUND)
        session = self.server.session
        match parts:
            case [name] if name in _ASSETS:
                file, kind = _ASSETS[name]
                return self._send(HTTPStatus.OK, (_FOLDER / file).read_bytes(), kind)
            case ["overview"]:
                return self._answer(session.overview)
            case ["agreement"]:
                return self._answer(session.agreement)
            case ["picture", index] if _is_number(index):
                return self._answer(partial(session.picture, int(index)))
            case ["tile", *numbers] if len(numbers) == 4 and all(map(_is_number, numbers)):
                try:
                    data = session.tile(*map(int, numbers))
                except UserError as error:
                    return self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
                return self._send(HTTPStatus.OK, data, "image/png", kept=True)
        return self._send(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Apply a change; respond after it is written to disk."""
        parts = self._parts()
        origins = [f"http://{host}" for host in self.server.hosts]
        foreign = self.headers.get("Origin", origins[0]) not in origins
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        length = self.headers.get("Content-Length", "")
        sized = _is_number(length) and int(length) <= _MOST_BODY_BYTES
        if parts is None or foreign or kind != "application/json" or not sized:
            self.close_connection = True
            return self._send(HTTPStatus.NOT_FOUND)
        try:
            body = parse_json(self.rfile.read(int(length)))
        except (ValueError, UnicodeDecodeError) as error:
            return self._send_json(HTTPStatus.BAD_REQUEST, {"error": f"No JSON ({error})."})
        session = self.server.session
        match parts:
            case ["change", index] if _is_number(index):
                act: Callable[[], None] = partial(session.change, int(index), body)
            case ["undo", index] if _is_number(index):
                act = partial(session.undo, int(index))
            case ["regions", index] if _is_number(index):
                act = partial(session.change_regions, int(index), body)
            case _:
                return self._send(HTTPStatus.NOT_FOUND)

        def done() -> dict[str, Any]:
            act()
            return {"picture": session.picture(int(index)), "overview": session.overview()}

        return self._answer(done)

    def _parts(self) -> list[str] | None:
        """Return the parts of the path after the token; None if host or token are wrong."""
        if self.headers.get("Host") not in self.server.hosts:
            return None
        _, token, *parts = [*self.path.split("/"), ""][:9]
        given = token.encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.server.token.encode()):
            return None
        return parts[:-1] if len(parts) > 1 and parts[-1] == "" else parts

    def _answer(self, make: Callable[[], Any]) -> None:
        try:
            self._send_json(HTTPStatus.OK, make())
        except UserError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _send_json(self, status: HTTPStatus, document: Any) -> None:
        data = json.dumps(document, allow_nan=False).encode("utf-8")
        self._send(status, data, "application/json")

    def _send(
        self, status: HTTPStatus, data: bytes = b"", kind: str = "", *, kept: bool = False
    ) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "private, max-age=3600" if kept else "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing, since the terminal is used by the command."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9
