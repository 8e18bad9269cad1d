"""`Detector`: pictures of any size, from arrays or files, give what the network itself gives."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import Detections, Detector, load_config
from keras_efficientdet.network.detector import detections, detector
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images


def same(found, expected, tolerance=1e-4):
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=tolerance)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=100 * tolerance)


def test_detections_differ_between_pictures(small_detector, pictures):
    found = small_detector(pictures)
    assert all(len(f) > 10 and np.ptp(f.scores) > 0.1 for f in found)
    assert len(set(found[0].classes)) > 1
    assert np.max(np.abs(found[0].scores[:10] - found[2].scores[:10])) > 1e-3
    assert np.max(np.abs(found[0].boxes[:10] - found[2].boxes[:10])) > 5


def test_detector_is_network_and_postprocessing(
    small_model, small_config, small_detector, pictures
):
    model = small_config.model
    for picture, found in zip(pictures, small_detector(pictures), strict=True):
        prepared, scale = images.prepare(
            picture[None], model.image_size, model.mean_rgb, model.stddev_rgb
        )
        boxes, scores, classes, count = head_of(small_config).detect(
            small_model(prepared, training=False), small_config
        )
        n = int(count[0])
        same(
            found,
            Detections(
                images.undo(boxes, scale, np.array([picture.shape[:2]]))[0, :n].numpy(),
                scores[0, :n].numpy(),
                classes[0, :n].numpy(),
                (),
                (),
            ),
        )


def test_detector_model_gives_the_same_arrays(small_model, small_detector, pictures):
    outputs = {
        k: np.asarray(v)
        for k, v in detector(small_model)(np.stack([pictures[0], pictures[2]])).items()
    }
    for i, found in enumerate(small_detector([pictures[0], pictures[2]])):
        n = outputs['count'][i]
        same(
            found,
            Detections(
                outputs['boxes'][i, :n], outputs['scores'][i, :n], outputs['classes'][i, :n], (), ()
            ),
        )
        assert np.all(outputs['scores'][i, n:] == 0) and np.all(outputs['boxes'][i, n:] == 0)


def test_batch_size_changes_nothing(small_model, pictures):
    together, alone = (
        Detector(small_model, batch_size=n)(pictures + pictures[::-1]) for n in (8, 1)
    )
    for found, expected in zip(together, alone, strict=True):
        same(found, expected)
    for found, expected in zip(together[:3], together[:2:-1], strict=True):
        same(found, expected)


def test_paths_and_arrays(small_detector, pictures, tmp_path):
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f'{i}.png')
    expected = small_detector(pictures)
    paths = [tmp_path / '0.png', str(tmp_path / '1.png'), pictures[2]]
    for found, wanted in zip(small_detector(paths), expected, strict=True):
        same(found, wanted)
    for one in (pictures[0], tmp_path / '0.png', str(tmp_path / '0.png')):
        (found,) = small_detector(one)
        same(found, expected[0])
    assert small_detector([]) == []


def test_kinds_of_input(small_detector, pictures, tmp_path):
    for name, picture in zip(('b.png', 'a.png', 'c.BMP'), pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no picture')
    (tmp_path / 'odd[1].png').write_bytes((tmp_path / 'b.png').read_bytes())
    b, a, c = small_detector(pictures)
    kinds = {
        'folder': (tmp_path, [a, b, c, b]),
        'glob': (f'{tmp_path}/?.png', [a, b]),
        'brackets': (f'{tmp_path}/odd[1].png', [b]),
        'below': (f'{tmp_path}/**/c.BMP', [c]),
        'pil': (Image.fromarray(pictures[1]), [a]),
        'pil in a list': ([Image.fromarray(pictures[0]), pictures[1]], [b, a]),
        'tensor': (tf.constant(pictures[2]), [c]),
        'array of pictures': (np.stack([pictures[0], pictures[2]]), [b, c]),
        'generator': ((p for p in (tmp_path / 'c.BMP', pictures[0])), [c, b]),
    }
    for kind, (given, expected) in kinds.items():
        found = small_detector(given)
        assert len(found) == len(expected), kind
        for one, wanted in zip(found, expected, strict=True):
            same(one, wanted)


def test_a_source_without_images_is_refused(small_detector, tmp_path):
    with pytest.raises(FileNotFoundError, match='no images found'):
        small_detector(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'camera 77: /dev/video77 does not exist'):
        next(small_detector.stream(77))


class Series:
    """What pandas gives: no list, but an array of objects if asked."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, object)


@pytest.mark.parametrize(
    'kind',
    [
        lambda paths: np.array([str(path) for path in paths]),
        lambda paths: np.array(paths, object),
        lambda paths: Series([str(path) for path in paths]),
    ],
    ids=['text', 'paths', 'series'],
)
def test_arrays_of_paths(small_detector, pictures, tmp_path, kind):
    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    for found, wanted in zip(small_detector(kind(paths)), small_detector(pictures), strict=True):
        same(found, wanted)


def test_a_detector_model_is_run_as_it_is(
    small_model, small_config, small_detector, pictures, tmp_path
):
    detector(small_model).save(tmp_path / 'whole.keras')
    for whole in (Detector(detector(small_model)), Detector(tmp_path / 'whole.keras')):
        for found, wanted in zip(whole(pictures), small_detector(pictures), strict=True):
            same(found, wanted)
            assert found.names == ('cat', 'dog', 'van')
    few = detector(small_model, load_config(small_config, ['max_output_size=5']))
    assert len(Detector(few)(pictures[0])[0]) == 5


def test_a_stream_takes_what_it_needs(small_model, pictures):
    two, taken = Detector(small_model, batch_size=2), []
    kinds = [pictures[i % 7 == 0] for i in range(14)]  # every seventh is of another size

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield kinds[i % 14]

    for i, (picture, found) in enumerate(itertools.islice(two.with_pictures(endless()), 14)):
        assert picture is kinds[i] and len(taken) <= i + 1 + 4 * 2
        same(found, two(kinds[i % 7 > 0])[0])
    assert len(taken) < 14 + 4 * 2


def test_ids_names_and_above(small_detector, pictures):
    (found,) = small_detector(pictures[0])
    assert found.names == ('cat', 'dog', 'van') and found.ids == (1, 18, 400)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (
        np.float32,
        np.float32,
        np.int32,
    )
    assert np.all(np.diff(found.scores) <= 0)
    threshold = float(np.median(found.scores))
    few = found.above(threshold)
    assert 0 < len(few) < len(found) and few.scores.min() >= threshold and few.names == found.names
    np.testing.assert_array_equal(few.boxes, found.boxes[: len(few)])


def test_boxes_scale_with_the_picture(small_detector, pictures):
    # Doubled by nearest neighbour, the image looks nearly the same to the network.
    smooth = np.asarray(Image.fromarray(pictures[0]).resize((256, 192), Image.BICUBIC))
    double = smooth.repeat(2, 0).repeat(2, 1)
    one, two = small_detector([smooth, double])
    np.testing.assert_allclose(two.boxes[0] / 2, one.boxes[0], atol=12)
    assert two.boxes.max() > 1.8 * one.boxes.max()


def test_boxes_lie_inside_of_the_image(small_model, small_detector):
    """Without the clipping many of them reach into the padding."""
    model = small_model.detection_config.model
    for height, width in ((60, 140), (130, 50)):
        image = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
        (found,) = small_detector(image)
        limit = [height, width, height, width]
        assert np.all(found.boxes >= 0) and np.all(found.boxes <= limit)
        prepared, scale = images.prepare(
            image[None], model.image_size, model.mean_rgb, model.stddev_rgb
        )
        network = small_model(prepared, training=False)
        whole = detections(network, scale, small_model.detection_config)
        beyond = whole['boxes'][0].numpy()[: len(found)]
        assert np.any(beyond > limit)
        np.testing.assert_allclose(np.clip(beyond, 0, limit), found.boxes, atol=1e-2)


def test_unreadable_files_are_named(small_detector, tmp_path):
    (tmp_path / 'text.jpg').write_text('no picture')
    for name in ('text.jpg', 'missing.jpg'):
        with pytest.raises(OSError, match=name.replace('.', r'\.')):
            small_detector([tmp_path / name])


@pytest.mark.parametrize(
    ('make', 'error'),
    [
        (lambda p: p / 'x.keras', FileNotFoundError),
        (lambda p: p / 'nowhere', FileNotFoundError),
        (lambda p: p, FileNotFoundError),
    ],
)
def test_a_missing_model_is_named(tmp_path, make, error):
    with pytest.raises(error, match=make(tmp_path).name):
        Detector(make(tmp_path))


def test_real_photos_from_keras_file(real, small_model, small_detector, tmp_path):
    small_model.save(tmp_path / 'net.keras')
    photos = sorted(real('coco_mini/images').glob('*.jpg'))[:3]
    for found, expected in zip(
        Detector(tmp_path / 'net.keras')(photos), small_detector(photos), strict=True
    ):
        same(found, expected)
        assert found.names == ('cat', 'dog', 'van')


@pytest.mark.parametrize('stored', [False, True], ids=['model', 'file'])
def test_one_trace_for_all_sizes_and_batches(small_model, pictures, tmp_path, traces, stored):
    if stored:
        small_model.save(tmp_path / 'net.keras')
    fresh = Detector(tmp_path / 'net.keras' if stored else small_model)
    built = len(traces)
    fresh(pictures[:1])
    traced = list(traces)
    assert len(traced) > built
    fresh(pictures)
    fresh([np.zeros((33, 77, 3), np.uint8)] * 5)
    assert traces == traced


def test_detection_settings_of_the_model_hold(small_model, small_config, pictures):
    strict = detector(
        small_model, load_config(small_config, ['score_thresh=0.5', 'max_output_size=5'])
    )
    outputs = strict(pictures[0][None])
    assert outputs['scores'].shape == (1, 5) and np.all(
        np.asarray(outputs['scores'])[0, : int(outputs['count'][0])] > 0.5
    )
    assert isinstance(strict, keras.Model)


def test_images_before_a_failure_are_detected(small_detector, pictures):
    """A video with a damaged end, or a broken file among others."""

    def damaged_video():
        yield from pictures
        yield pictures[0]
        raise OSError('the file ends here')

    found, expected = [], small_detector([*pictures, pictures[0]])
    with pytest.raises(OSError, match='the file ends here'):
        for detections in small_detector.stream(damaged_video()):
            found.append(detections)
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        same(one, other)


def test_files_before_a_broken_one_are_detected(small_detector, pictures, tmp_path):
    for name, image in zip('ac', pictures, strict=False):
        Image.fromarray(image).save(tmp_path / f'{name}.png')
    (tmp_path / 'b.png').write_bytes(b'no image')
    stream = small_detector.stream(tmp_path)
    assert len(next(stream)) > 0
    with pytest.raises(OSError, match=r'b\.png: cannot be read'):
        next(stream)
