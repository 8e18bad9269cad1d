"""Work in threads: results in order, bounded reading ahead, and errors at their place."""

import threading
import time

import pytest

from keras_efficientdet.threads import in_order


def test_results_come_in_the_order_of_the_items():
    def slow_at_first(n):
        time.sleep(0.02 if n == 0 else 0.0)
        return n * n

    assert list(in_order(slow_at_first, range(20), 4)) == [n * n for n in range(20)]


def test_items_are_taken_a_bounded_number_ahead():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = in_order(str, items(), 2, ahead=3)
    assert next(results) == '0'
    assert len(taken) == 4
    results.close()
    assert len(taken) == 4


def test_results_before_a_failing_item_are_given_out_first():
    def items():
        yield from range(5)
        raise OSError('damaged end')

    found = []
    with pytest.raises(OSError, match='damaged end'):
        for result in in_order(str, items(), 2, ahead=10):
            found.append(result)
    assert found == ['0', '1', '2', '3', '4']


def test_an_error_of_the_function_stops_the_work():
    started = []
    lock = threading.Lock()

    def fails_at_three(n):
        with lock:
            started.append(n)
        if n == 3:
            raise ValueError('three')
        return n

    found = []
    with pytest.raises(ValueError, match='three'):
        for result in in_order(fails_at_three, range(1000), 2):
            found.append(result)
    assert found == [0, 1, 2]
    assert len(started) < 100
