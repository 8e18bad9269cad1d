"""SIGINT and SIGTERM end a training between two steps, not in the middle of one."""

import contextlib
import signal
import sys
import threading

import keras


@contextlib.contextmanager
def interruptible(workdir):
    """Yields a callback that ends `fit` after the running step once SIGINT or SIGTERM came; give it as the last one.

    The process then exits with status 130 or 143 (SystemExit); checkpoints are left as they are. A second signal acts at
    once. Outside of the main thread Python allows no signal handlers, and none are set.
    """
    stop, before = _StopOnSignal(workdir), {}
    if threading.current_thread() is threading.main_thread():

        def remember(number, frame):
            stop.signal = signal.Signals(number)
            print(
                f'\n{stop.signal.name}: stopping after this step; once more stops at once',
                file=sys.stderr,
            )
            _set(before)

        before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        _set(before)


def _set(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _StopOnSignal(keras.callbacks.Callback):
    _supports_tf_logs = True  # on Keras 2: do not fetch the logs of each step for this callback

    def __init__(self, workdir):
        super().__init__()
        self.workdir, self.signal = workdir, None

    def _stop(self):
        if self.signal is not None:
            print(
                f'{self.signal.name}: training stopped. Run the same command again to continue from the last checkpoint in '
                f'{self.workdir}',
                file=sys.stderr,
            )
            raise SystemExit(128 + self.signal)

    def on_train_batch_end(self, batch, logs=None):
        self._stop()

    def on_test_batch_end(self, batch, logs=None):
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()
