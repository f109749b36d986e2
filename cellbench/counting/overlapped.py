"""Background writing of files while a network counts.

Compression releases Python's global lock and uses time that the network's threads leave idle.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

# Each waiting call keeps a picture in memory.
_MOST_WAITING = 2


@contextmanager
def write_behind() -> Iterator[Callable[..., None]]:
    """Run functions in a background thread, in order.

    All submitted functions have run when the context ends, also after an exception in its body. An
    exception of a function is raised by a later submission or at the end of the context; functions
    that have not started are then cancelled.

    Yields:
        A function that submits a function with its arguments; it blocks while two are pending.
    """
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as pool:

        def finish_first() -> None:
            """Wait for the oldest submission; if it fails, cancel the later ones."""
            try:
                waiting.popleft().result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                waiting.clear()
                raise

        def write(function: Callable[..., Any], *arguments: Any) -> None:
            while len(waiting) >= _MOST_WAITING:
                finish_first()
            waiting.append(pool.submit(function, *arguments))

        yield write
        while waiting:
            finish_first()
