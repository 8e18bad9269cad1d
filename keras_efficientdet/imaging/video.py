"""Frames of videos and cameras, and videos of frames, by PyAV (extra `video`)."""

import contextlib
import pathlib

import numpy as np

from keras_efficientdet.files import new_file
from keras_efficientdet.optional import require

VIDEOS = ('.mp4', '.mov', '.m4v', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')


def is_video(path):
    """Whether a path ends like a video."""
    return pathlib.Path(path).suffix.lower() in VIDEOS


def frames(path):
    """Yields the frames of a video file, uint8 RGB [H, W, 3], turned upright as players do, one at a time.

    Raises:
      ImportError: the extra `video` is not installed. FileNotFoundError, OSError, ValueError: no file, a broken one, no video
        in it.
    """
    with _opened(path) as container:
        for frame in container.decode(video=0):
            yield _upright(frame)


def camera_frames(index):
    """Yields what a camera sees (Linux: /dev/video<index>), as `frames`, until the caller stops.

    Raises:
      FileNotFoundError: there is no such camera. OSError: it cannot be read.
    """
    device = pathlib.Path(f'/dev/video{index}')
    if not device.exists():
        raise FileNotFoundError(
            f'camera {index}: {device} is not there; cameras are read through Video4Linux'
        )
    with _opened(device, 'v4l2') as container:
        for frame in container.decode(video=0):
            yield _upright(frame)


def rate_and_count(path):
    """(frames a second as a Fraction, number of frames or None where the file does not say)."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return stream.average_rate or stream.guessed_rate, stream.frames or None


@contextlib.contextmanager
def video_writer(path, rate):
    """Gives the function that appends a picture uint8 [H, W, 3] to a new H.264 video; the file is whole or not there.

    Args:
      path: ends in .mp4. rate: frames a second. Pictures are of one size; odd sizes get one more row or column, H.264 has none.
    Raises:
      FileExistsError, ValueError, ImportError.
    """
    av = require('av', 'video')
    with new_file(path, '.mp4') as (_, working), av.open(str(working), 'w') as container:
        stream = container.add_stream('libx264', rate=rate, options={'crf': '20'})
        stream.pix_fmt, stream.width, stream.height = 'yuv420p', 0, 0

        def write(picture):
            even = np.pad(picture, [(0, n % 2) for n in picture.shape[:2]] + [(0, 0)], 'edge')
            if not stream.width:
                stream.height, stream.width = even.shape[:2]
            if even.shape[:2] != (stream.height, stream.width):
                raise ValueError(
                    f'{path}: a frame of {even.shape[:2]} in a video of {(stream.height, stream.width)}'
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, 'rgb24')))

        yield write
        container.mux(stream.encode(None))


@contextlib.contextmanager
def _opened(path, kind=None):
    av = require('av', 'video')
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(f'{path}: no such video')
    try:
        with av.open(str(path), format=kind) as container:
            if not container.streams.video:
                raise ValueError(f'{path}: no video in it')
            container.streams.video[0].thread_type = 'AUTO'
            yield container
    except av.FFmpegError as error:
        raise OSError(f'{path}: cannot be read as a video: {error}') from error


def _upright(frame):
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format='rgb24'), frame.rotation // 90))
