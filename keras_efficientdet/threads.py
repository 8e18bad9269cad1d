"""Work in threads, results in order; functions that only one thread may be in."""

import collections
import functools
import threading
import typing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

Item = typing.TypeVar('Item')
Result = typing.TypeVar('Result')


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yields function(item) of each item in order, computed by threads.

    Threads are enough where Pillow or TensorFlow do the work: they release the interpreter's lock.

    Args:
      items: taken when they are needed. If taking one fails, the results of those before it are
        yielded first.
      workers: number of threads.
      ahead: how many items may be taken beyond the one whose result is yielded; default 4 per
        thread. It limits memory, since an image may be megabytes.
    """
    ahead = 4 * workers if ahead is None else ahead
    failures = []
    with ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        try:
            for item in until_failure(items, failures):
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # `function` failed, or the caller stopped: start nothing more
            pool.shutdown(cancel_futures=True)
    # What was taken before `items` failed has been yielded by now: a video with a damaged end
    # still gives all frames before it.
    for failure in failures:
        raise failure


def one_at_a_time(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function for threads that share what it works on: each call waits for the one before."""
    lock = threading.Lock()

    @functools.wraps(function)
    def alone(*args, **kwargs):
        with lock:
            return function(*args, **kwargs)

    return alone


def until_failure(items: Iterable[Item], failures: list[Exception]) -> Iterator[Item]:
    """The items, until taking one fails; then the exception is appended to `failures`."""
    try:
        yield from items
    except Exception as failure:
        failures.append(failure)
