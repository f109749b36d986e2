"""Writing behind, while a network counts.

Compressing runs outside of Python's lock, in the time that a network's threads leave.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

# What waits to be written holds its picture.
_MOST_WAITING = 2


@contextmanager
def write_behind() -> Iterator[Callable[..., None]]:
    """Call functions in another thread, in order; what they raise is raised by the next call.

    On leaving, all that was given is done, also after an error elsewhere.

    Yields:
        What takes a function and its arguments, and waits where much is waiting already.
    """
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as pool:

        def finish_first() -> None:
            """Wait for the oldest; where it fails, what was given after it is not done."""
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
