"""A photo through whole detectors with seeded weights, against the recorded official detections."""

import numpy as np
import official
import pytest

from keras_efficientdet import Detector, efficientdet, load_config, load_official
from keras_efficientdet.config.official import from_official
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.ops import images
from keras_efficientdet.weights.official import official_shapes

GOLDENS = {
    'efficientdet-d0': 'e2e/d0_256_img1.npz',
    'efficientdet-lite0': 'e2e/lite0_320_img1.npz',
}
# The official modes as settings of `detect`; 0 pairs and a threshold of 0 are their defaults.
MODES = {
    'global': {'per_class': False},
    'per_class': {},
    'combined': {'method': 'hard', 'score_thresh': 0.0, 'max_nms_inputs': 10**6},
}


@pytest.fixture(scope='module')
def photo():
    return official.photo()


@pytest.fixture(scope='module', params=list(GOLDENS))
def official_run(request):
    """(model, name of the golden)"""
    golden = GOLDENS[request.param]
    if official.path(golden) is None:
        pytest.skip(f'{golden} is not here')
    rule = official.index(golden)['rule']
    hparams = {'image_size': rule['image_size'][0], 'nms_configs': rule['nms_configs']}
    model = efficientdet(load_config(request.param, from_official(hparams).overrides))
    load_official(model, official.seeded_weights(official_shapes(model), rule))
    return model, golden


def found_by(model, photo, mode):
    """Detections of the photo in an official mode, in which boxes are clipped to the input."""
    config = load_config(model.detection_config, {'detect': MODES[mode]})
    settings = config.model
    prepared = images.prepare(
        photo[None], settings.image_size, settings.mean_rgb, settings.stddev_rgb
    )
    return {
        name: value.numpy()[0] for name, value in detect_batch(model, config)(*prepared).items()
    }


def expected_of(arrays, mode, model):
    """The recorded detections; officially, per_class alone does not clip its boxes."""
    scale = float(arrays['image_scales'][0])
    limit = np.tile(model.detection_config.model.image_size, 2) * scale
    boxes = np.clip(arrays[f'{mode}/boxes'][0], 0, limit)
    scores, classes = arrays[f'{mode}/scores'][0], arrays[f'{mode}/classes'][0]
    return boxes, scores, classes - 1  # official class ids begin with 1


@pytest.mark.parametrize('mode', MODES)
def test_official_detections_of_a_photo(official_run, photo, mode):
    model, golden = official_run
    arrays = official.golden(golden)
    found = found_by(model, photo, mode)
    boxes, scores, classes = expected_of(arrays, mode, model)
    assert found['count'] == arrays[f'{mode}/valid_len'][0] == 100
    np.testing.assert_allclose(found['scores'], scores, atol=1e-3)
    same = np.abs(found['boxes'][:, None] - boxes).max(-1) < 0.5
    same &= (np.abs(found['scores'][:, None] - scores) < 1e-3) & (
        found['classes'][:, None] == classes
    )
    # In any order, because near ties may be swapped.
    assert same.any(0).all() and same.any(1).all()


def test_the_detector_clips_them_to_the_photo(official_run, photo):
    model, golden = official_run
    arrays = official.golden(golden)
    _, _, classes = expected_of(arrays, 'per_class', model)
    boxes = np.clip(arrays['per_class/boxes'][0], 0, np.tile(photo.shape[:2], 2))
    (found,) = Detector(model)(photo)
    np.testing.assert_allclose(found.scores, arrays['per_class/scores'][0], atol=1e-3)
    same = np.abs(found.boxes[:, None] - boxes).max(-1) < 0.5
    same &= found.classes[:, None] == classes
    assert same.any(0).all() and same.any(1).all()


def test_goldens_notice_a_mirrored_photo_and_another_scale(official_run, photo):
    model, golden = official_run
    arrays = official.golden(golden)
    boxes, scores, _ = expected_of(arrays, 'global', model)
    mirrored = found_by(model, photo[:, ::-1], 'global')
    assert np.abs(mirrored['scores'] - scores).max() > 1e-2
    smaller = found_by(model, photo[::2, ::2], 'global')
    assert np.abs(smaller['boxes'] - boxes).max() > 50


def test_the_photo_is_the_recorded_one(photo, golden):
    """Decoded by Pillow; the decoder of TensorFlow differs by up to 4 grey levels."""
    arrays = golden('func/decode_img1.npz')
    np.testing.assert_array_equal(photo[::16, ::16], arrays['pil'])
    assert 0 < np.abs(arrays['pil'].astype(int) - arrays['tf']).max() <= 4
