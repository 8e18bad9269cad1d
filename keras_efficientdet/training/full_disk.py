"""A full disk while training: one error that tells what to do, whichever library met it."""

import contextlib
import errno
import os

import tensorflow as tf

from keras_efficientdet.training.resume import checkpoints_in

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over quota, over a limit of size


@contextlib.contextmanager
def full_disk_named(workdir):
    """Raises one OSError that tells how to continue where any library found no room to write.

    Other errors pass.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if not _is_full(error):
            raise
        kept = checkpoints_in(workdir / 'checkpoint')
        raise OSError(
            f'{workdir}: no room to write ({str(error)[:300]}). Make room and run the same command '
            f'again; it goes on from {kept[-1] if kept else "the start"}'
        ) from error


def _is_full(error):
    """By the error's number where it has one: numpy's and Python's errors do.

    HDF5 and TensorFlow's writers do not hand it on, neither as an attribute nor by the class of the
    error (h5py: OSError, TensorFlow: any OpError), but only as the operating system's sentence for
    the number. So that sentence is looked for.
    """
    if getattr(error, 'errno', None) in _FULL:
        return True
    return any(os.strerror(code) in str(error) for code in _FULL)
