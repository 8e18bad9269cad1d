"""Videos: as many frames out as in, with boxes, upright, whole or not there."""

import struct
import sys

import numpy as np
import pytest

from keras_efficientdet import draw
from keras_efficientdet.imaging.video import frames, rate_and_count, video_writer
from keras_efficientdet.inference.results import annotate_video

FRAMES, SIZE = 100, (95, 127)


@pytest.fixture(scope='module')
def av():
    return pytest.importorskip('av', reason='the `video` extra is not installed')


def frame(i):
    """Soft waves, and a red square that moves to the right."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = np.stack(
        [128 + 60 * np.sin(x / (9 + k) + i / 20) * np.cos(y / (7 + 2 * k)) for k in range(3)], -1
    ).astype(np.uint8)
    picture[30:60, i : i + 27] = (230, 20, 20)
    return picture


@pytest.fixture(scope='module')
def film(av, tmp_path_factory):
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    with video_writer(path, 25) as write:
        for i in range(FRAMES):
            write(frame(i))
    return path


def test_frames_come_back(film):
    assert rate_and_count(film) == (25, FRAMES)
    back = list(frames(film))
    assert len(back) == FRAMES
    assert back[0].shape == (96, 128, 3)  # H.264 has even sizes only
    assert back[0].dtype == np.uint8
    for i, picture in enumerate(back):
        assert np.mean(np.abs(picture[:95, :127].astype(float) - frame(i))) < 6
        np.testing.assert_allclose(picture[45, i + 13], (230, 20, 20), atol=25)


def test_a_hundred_frames_in_a_hundred_annotated_frames_out(film, small_detector, tmp_path, capsys):
    rows = annotate_video(small_detector, film, tmp_path / 'out.mp4', min_score=0.5)
    assert f'{FRAMES}/{FRAMES}' in capsys.readouterr().err  # the progress bar
    given, out = list(frames(film)), list(frames(tmp_path / 'out.mp4'))
    assert len(out) == len(given) == FRAMES
    assert rate_and_count(tmp_path / 'out.mp4') == (25, FRAMES)
    expected = [found.above(0.5) for found in small_detector(given)]
    assert [row['image_id'] for row in rows] == [
        i for i, found in enumerate(expected) for _ in range(len(found))
    ]
    assert min(map(len, expected)) > 0
    for before, after, found in zip(given, out, expected, strict=True):
        sketch = draw(before, found).astype(float)
        # Compression is lossy, but the frame is closer to the one with boxes than to that without.
        with_boxes = np.mean(np.abs(after - sketch))
        without = np.mean(np.abs(after - before.astype(float)))
        assert with_boxes < 0.8 * without
    assert [p.name for p in tmp_path.iterdir()] == ['out.mp4']
    with pytest.raises(FileExistsError, match=r'out\.mp4 exists'):
        annotate_video(small_detector, film, tmp_path / 'out.mp4')


def test_a_video_held_upright_is_read_upright(film, tmp_path):
    straight = struct.pack('>9i', 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    clockwise = struct.pack(
        '>9i', 0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000
    )  # as telephones write it
    content = film.read_bytes()
    place = content.index(straight, content.index(b'tkhd'))
    (tmp_path / 'tall.mp4').write_bytes(content[:place] + clockwise + content[place + 36 :])
    np.testing.assert_array_equal(
        next(frames(tmp_path / 'tall.mp4')), np.rot90(next(frames(film)), -1)
    )


def test_faults_are_named_and_leave_nothing(av, small_detector, tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(OSError, match=r'text\.mp4: cannot be read as a video'):
        small_detector(tmp_path / 'text.mp4')
    with pytest.raises(FileNotFoundError, match=r'nowhere\.mp4: no such video'):
        small_detector(f'{tmp_path}/nowhere.mp4')
    with (
        pytest.raises(ValueError, match='a frame of'),
        video_writer(tmp_path / 'new.mp4', 25) as write,
    ):
        write(frame(0))
        write(frame(1)[:40])
    assert [p.name for p in tmp_path.iterdir()] == ['text.mp4']


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(
        ImportError, match=r'av is needed .* pip install "keras-efficientdet\[video\]"'
    ):
        next(frames(tmp_path / 'film.mp4'))
