"""Engines in processes that were forked, where their threads do not exist."""

import os

from tensorflow.python.eager import context

_forked_from: list[int] = []  # the parent, if TensorFlow had run in it


def refuse_lost_threads() -> None:
    """Raises where TensorFlow would wait forever.

    Raises:
      RuntimeError: this process was forked from one in which TensorFlow had run; TensorFlow cannot
        start its threads again.
    """
    if _forked_from:
        raise RuntimeError(
            f'TensorFlow had run in process {_forked_from[0]} before process {os.getpid()} was '
            'forked from it. Its threads do not exist here, so a call would never return. Start '
            "processes by multiprocessing.get_context('spawn'), to which a Detector can be given; "
            'or fork before TensorFlow is used; or use a .tflite, .onnx or .xml file, which works '
            'in forked processes'
        )


def _after_fork():
    if context.context()._context_handle is not None:
        _forked_from[:] = [os.getppid()]


if hasattr(os, 'register_at_fork'):  # not on Windows, where nothing is forked
    os.register_at_fork(after_in_child=_after_fork)
