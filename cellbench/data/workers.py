"""Worker processes that compute results in order, ahead of use.

The workers are new interpreters without torch: they start in about a second, whatever the parent
process holds (a GPU, threads), and end with it, however it ends.
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

from cellbench.data.pipeline import prefetch

Item = TypeVar("Item")
Result = TypeVar("Result")

# More processes did not speed up a training of 5 ms per step (benchmarks/loading.py).
_MOST = 4
_CORES_EACH = 4

# Errors of a pool that cannot start, cannot pickle a function or item, or has lost a process.
_NO_POOL = (BrokenProcessPool, PicklingError, AttributeError, TypeError, OSError)


def choose_workers(wanted: int | None, *, on_gpu: bool) -> int:
    """Choose the number of processes that prepare batches; 0 stands for one thread.

    When a network trains on the CPU, the cores are busy and one thread is enough. With a GPU that
    thread and the training would wait for each other at Python's lock, so processes are used where
    there are cores for them.

    Args:
        wanted: the user's number; None to choose.
        on_gpu: whether the network is on a GPU.
    """
    if wanted is not None or not on_gpu:
        return wanted or 0
    return min(_MOST, cores_of_run() // _CORES_EACH)


def cores_of_run() -> int:
    """Return the number of CPU cores for this process.

    Under torchrun it is an equal share of the cores, otherwise OMP_NUM_THREADS, or all cores.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # torchrun sets OMP_NUM_THREADS to 1, so its number of processes decides.
    processes = os.environ.get("LOCAL_WORLD_SIZE", "")
    if processes.isdigit() and int(processes) > 1:
        return max(1, cores // int(processes))
    return min(cores, int(threads)) if threads.isdigit() and int(threads) > 0 else cores


def prefetch_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield `function(item)` in order, computed ahead of use by several processes.

    The calling process computes the first results itself, until the workers have started. If they
    cannot start (a function that cannot be pickled, no memory) or are killed, one thread continues.
    An error of the function is raised in place of its result; closing the iterator ends the
    processes.

    Args:
        function: called with each item, in any process.
        items: finite or infinite.
        workers: number of processes.
    """
    remaining = iter(items)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_initialise,
        initargs=(function,),
    )
    sent: deque[Item] = deque()
    try:
        try:
            first = pool.submit(os.getpid)
        except _NO_POOL:
            yield from prefetch(function, remaining)
            return
        for item in remaining:
            if first.done():
                remaining = chain([item], remaining)
                break
            yield function(item)
        results: deque[Future[Result]] = deque()
        while True:
            try:
                for item in islice(remaining, 2 * workers + 1 - len(sent)):
                    sent.append(item)
                    results.append(pool.submit(_compute, item))
                if not sent:
                    return
                result = results.popleft().result()
            except _NO_POOL:
                # If the function itself raised one of these errors, it raises it again here.
                yield from prefetch(function, chain(sent, remaining))
                return
            sent.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]


def _initialise(function: Callable[[Any], Any]) -> None:
    """Initialise a worker: store the function, and end with the parent process."""
    global _function
    _function = function
    # Ctrl-C in a terminal reaches all its processes; only the parent handles it.
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
