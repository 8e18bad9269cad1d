"""Work in threads, results in order."""

import collections
from concurrent.futures import ThreadPoolExecutor


def in_order(function, items, workers, ahead=None):
    """function(item) of each in order, by threads (Pillow and TensorFlow decode without the interpreter's lock).

    `items` are taken when needed, at most `ahead` (default: 4 for each thread) before the result that is given out.
    """
    ahead = 4 * workers if ahead is None else ahead
    with ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:  # not all at once: a picture may be megabytes
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
