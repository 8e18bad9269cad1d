"""SIGINT and SIGTERM end a training between two steps, not in the middle of one."""

import contextlib
import logging
import signal
import threading

import keras

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def interruptible(workdir):
    """Yields a callback that ends `fit` after the running step once SIGINT or SIGTERM arrived.

    It has to be the last of the callbacks. The process then exits with status 130 or 143
    (SystemExit); checkpoints are left as they are. A second signal acts at once, by the handlers
    that were there before. Outside of the main thread Python allows no handlers, and none are set.
    """
    stop = _StopOnSignal(workdir)
    before = {}
    if threading.current_thread() is threading.main_thread():

        def remember(number, frame):
            stop.signal = signal.Signals(number)
            _log.warning(
                '\n%s: stopping after this step; a second signal stops at once', stop.signal.name
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
    # Keras 2 fetches the logs of each step for callbacks without it, and so waits for the step.
    _supports_tf_logs = True

    def __init__(self, workdir):
        super().__init__()
        self.workdir = workdir
        self.signal = None

    def _stop(self):
        if self.signal is not None:
            _log.warning(
                '%s: training stopped. Run the same command again to continue from the last '
                'checkpoint in %s',
                self.signal.name,
                self.workdir,
            )
            raise SystemExit(128 + self.signal)

    def on_train_batch_end(self, batch, logs=None):
        self._stop()

    def on_test_batch_end(self, batch, logs=None):
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()
