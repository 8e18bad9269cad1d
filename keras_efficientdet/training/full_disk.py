"""A full disk while training: one error that says what to do, whichever library met it."""

import contextlib
import errno
import os

import tensorflow as tf

from keras_efficientdet.training.resume import checkpoints_in

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def full_disk_named(workdir):
    """Raises OSError with the way on where numpy, h5py or TensorBoard's writer found no room; other errors pass."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if getattr(error, 'errno', None) not in _FULL and not any(
            os.strerror(code) in str(error) for code in _FULL
        ):
            raise
        kept = checkpoints_in(workdir / 'checkpoint')
        raise OSError(
            f'{workdir}: no room to write ({str(error)[:300]}). Make room and run the same command again; it goes on '
            f'from {kept[-1] if kept else "the start"}'
        ) from error
