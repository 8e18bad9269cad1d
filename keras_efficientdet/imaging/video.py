"""Frames of videos and cameras, and videos of frames, by PyAV (extra `video`)."""

import contextlib
import fractions
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from keras_efficientdet.files import new_file
from keras_efficientdet.optional import require

VIDEO_SUFFIXES = ('.mp4', '.mov', '.m4v', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')


def is_video(path: str | os.PathLike) -> bool:
    """Whether a path has the suffix of a video."""
    return pathlib.Path(path).suffix.lower() in VIDEO_SUFFIXES


def frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yields the frames of a video file, uint8 RGB [H, W, 3], turned upright as players do.

    Raises:
      ImportError: the extra `video` is not installed.
      FileNotFoundError: no such file. OSError: it cannot be decoded.
      ValueError: a file without a video stream.
    """
    with _opened(path) as container:
        for frame in container.decode(video=0):
            yield _upright(frame)


def camera_frames(index: int) -> Iterator[np.ndarray]:
    """Yields the frames of a camera (Linux: /dev/video<index>) like `frames`, without an end.

    Raises:
      FileNotFoundError: there is no such camera. OSError: it cannot be read.
    """
    device = pathlib.Path(f'/dev/video{index}')
    if not device.exists():
        raise FileNotFoundError(
            f'camera {index}: {device} does not exist; cameras are read through Video4Linux'
        )
    with _opened(device, 'v4l2') as container:
        for frame in container.decode(video=0):
            yield _upright(frame)


def rate_and_count(path: str | os.PathLike) -> tuple[fractions.Fraction, int | None]:
    """Frames per second, and the number of frames, None where the file does not store it."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return stream.average_rate or stream.guessed_rate, stream.frames or None


@contextlib.contextmanager
def video_writer(path: str | os.PathLike, rate: float | fractions.Fraction):
    """Gives a function that appends a frame uint8 [H, W, 3] to a new H.264 video.

    The file appears when it is complete. All frames must have one size; an odd height or width is
    padded by one row or column, because H.264 has even sizes only.

    Args:
      path: ends in .mp4. rate: frames per second.
    Raises:
      FileExistsError: the path exists. ValueError: another suffix, or frames of several sizes.
      ImportError: the extra `video` is not installed.
    """
    av = require('av', 'video')
    with new_file(path, '.mp4') as (_, working), av.open(str(working), 'w') as container:
        # crf: constant quality; 23 is the encoder's default, lower is better.
        stream = container.add_stream('libx264', rate=rate, options={'crf': '20'})
        stream.pix_fmt = 'yuv420p'  # the one that every player decodes
        stream.width = stream.height = 0  # set by the first frame

        def write(frame):
            even = _even(frame)
            if not stream.width:
                stream.height, stream.width = even.shape[:2]
            expected = stream.height, stream.width
            if even.shape[:2] != expected:
                raise ValueError(f'{path}: a frame of {even.shape[:2]} in a video of {expected}')
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, 'rgb24')))

        yield write
        container.mux(stream.encode(None))


def _even(frame):
    height, width = frame.shape[:2]
    return np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], 'edge')


@contextlib.contextmanager
def _opened(path, kind=None):
    av = require('av', 'video')
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(f'{path}: no such video')
    try:
        with av.open(str(path), format=kind) as container:
            if not container.streams.video:
                raise ValueError(f'{path}: no video stream in it')
            container.streams.video[0].thread_type = 'AUTO'
            yield container
    except av.FFmpegError as error:
        raise OSError(f'{path}: cannot be read as a video: {error}') from error


def _upright(frame):
    image = frame.to_ndarray(format='rgb24')
    # rotation: degrees counter-clockwise that the file asks players for, a multiple of 90.
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
