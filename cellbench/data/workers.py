"""Results computed ahead of their use by other processes, in order.

The processes are new interpreters without torch: they start in about a second, whatever the process
that uses them holds (a GPU, threads), and end with it, however it ends.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain, islice
from pickle import PicklingError
from typing import Any, TypeVar

from cellbench.data.pipeline import look_ahead

Item = TypeVar("Item")
Result = TypeVar("Result")

# More did not help a training that takes 5 ms a step (benchmarks/loading.py).
_MOST = 4
_CORES_EACH = 4

# How a pool says that it cannot start, cannot be sent something, or has lost a process.
_NO_POOL = (BrokenProcessPool, PicklingError, AttributeError, TypeError, OSError)


def choose_workers(wanted: int | None, *, on_gpu: bool) -> int:
    """How many processes prepare batches.

    Args:
        wanted: set by the user; None chooses. A CPU that trains is busy itself, so that one thread
            serves; beside a GPU Python's lock would have that thread and the training wait for
            each other, so that processes serve where there are cores for them.
        on_gpu: where the network is.
    """
    if wanted is not None or not on_gpu:
        return wanted or 0
    return min(_MOST, cores_of_run() // _CORES_EACH)


def cores_of_run() -> int:
    """The cores that are this run's: those that OMP_NUM_THREADS gives it, or an equal share."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")  # torchrun, which gives each one thread
    if beside.isdigit() and int(beside) > 1:
        return max(1, have // int(beside))
    return min(have, int(given)) if given.isdigit() and int(given) > 0 else have


def by_processes(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """`map`, computed by several processes while the caller works on earlier results.

    The caller computes the first results itself, until the processes are there. Where they cannot
    be had (a function that cannot be sent, no memory) or are killed, one thread goes on. An error
    of the function is raised where its result would have come; closing the iterator ends the
    processes.

    Args:
        function: called with each item, anywhere.
        items: finite or not.
        workers: number of processes.
    """
    left = iter(items)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(function,),
    )
    sent: deque[Item] = deque()
    try:
        try:
            first = pool.submit(os.getpid)
        except _NO_POOL:
            yield from look_ahead(function, left)
            return
        for item in left:
            if first.done():
                left = chain([item], left)
                break
            yield function(item)
        results: deque[Future[Result]] = deque()
        while True:
            try:
                for item in islice(left, 2 * workers + 1 - len(sent)):
                    sent.append(item)
                    results.append(pool.submit(_compute, item))
                if not sent:
                    return
                result = results.popleft().result()
            except _NO_POOL:
                # What the function itself raised, it raises again.
                yield from look_ahead(function, chain(sent, left))
                return
            sent.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    """Prepare a process: it has the function, and does not outlive its parent."""
    global _function
    _function = function
    # Ctrl-C in a terminal reaches all its processes; the parent decides what it means.
    with suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute(item: Any) -> Any:
    return _function(item)
