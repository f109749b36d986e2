"""Reading ahead and writing behind, while a network counts.

Decoding and compressing run outside of Python's lock, in the time that a network's threads leave.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What waits to be written holds its picture.
_MOST_WAITING = 2


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Read each item while the one before it is used.

    Args:
        read: called in one thread, in order.
        items: what is read.

    Yields:
        The item, and what gives its result, or raises what `read` raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        before: tuple[Item, Future[Result]] | None = None
        try:
            for item in items:
                this = item, pool.submit(read, item)
                if before is not None:
                    yield before[0], before[1].result
                before = this
            if before is not None:
                yield before[0], before[1].result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class WriteBehind:
    """Calls functions in another thread, in order; what they raise is raised by the next call.

    On leaving, all that was given is done, also after an error elsewhere.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> "WriteBehind":
        return self

    def __call__(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Have something written; waits where much is waiting already."""
        while len(self._waiting) >= _MOST_WAITING:
            self._done_first()
        self._waiting.append(self._pool.submit(write, *arguments))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._waiting and error is None:
                self._done_first()
        finally:
            self._pool.shutdown(wait=True)

    def _done_first(self) -> None:
        """Wait for the oldest; where it fails, what was given after it is not done."""
        try:
            self._waiting.popleft().result()
        except BaseException:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._waiting.clear()
            raise
