"""The head of CenterNet: targets and back, losses by hand, the transposed convolution."""

import keras
import numpy as np
import pytest

from keras_efficientdet import ConfigError, centernet, load_config
from keras_efficientdet.network.heads.center import HEAD
from keras_efficientdet.network.losses import CenterLoss, HeatMapLoss
from keras_efficientdet.network.pyramids.upsampling import upsampled

CONFIG = load_config('centernet-lite0', {'image_size': [64, 96], 'num_classes': 3})
BOXES = np.array([[4, 8, 20, 40], [30, 50, 62, 90], [10, 60, 18, 70]], np.float32)
CLASSES = np.array([2, 0, 2], np.int32)


def test_targets_by_hand():
    targets, positives = HEAD.targets(CONFIG)(BOXES[:1], CLASSES[:1])
    # Cells of 4 pixels: the centre (12, 24) is (3, 6), without a rest; the size is 4 x 8 cells.
    assert positives == 1.0 and targets['heat'].shape == (16, 24, 3)
    assert targets['heat'].numpy()[3, 6].tolist() == [0.0, 0.0, 1.0]
    np.testing.assert_array_equal(targets['size'].numpy()[3, 6], [4, 8, 1])
    np.testing.assert_array_equal(targets['offset'].numpy()[3, 6], [0, 0, 1])
    assert np.sum(targets['size'].numpy()[..., 2]) == 1.0


def test_what_targets_encode_detect_finds_again():
    targets, positives = HEAD.targets(CONFIG)(BOXES, CLASSES)
    assert positives == 3.0
    heat = np.clip(targets['heat'].numpy(), 1e-4, 1 - 1e-4)
    outputs = {
        'heat': np.log(heat / (1 - heat))[None],
        'size': targets['size'].numpy()[None, ..., :2],
        'offset': targets['offset'].numpy()[None, ..., :2],
    }
    config = load_config(CONFIG, 'score_thresh=0.9')
    boxes, scores, classes, count = (v.numpy()[0] for v in HEAD.detect(outputs, config))
    assert count == 3 and np.all(scores[:3] > 0.99) and np.all(boxes[3:] == 0)
    order, wanted = np.argsort(boxes[:3, 0]), np.argsort(BOXES[:, 0])
    np.testing.assert_allclose(boxes[:3][order], BOXES[wanted], atol=1e-3)
    np.testing.assert_array_equal(classes[:3][order], CLASSES[wanted])


def test_an_image_without_objects():
    targets, positives = HEAD.targets(CONFIG)(BOXES[:0], CLASSES[:0])
    assert positives == 0.0 and HEAD.divisor(positives) == 1.0
    assert all(np.all(value.numpy() == 0) for value in targets.values())


def test_the_heat_loss_by_hand():
    heat = np.array([1.0, 0.6, 0.0], np.float32).reshape(1, 1, 3, 1)
    p = np.array([0.3, 0.8, 0.1])
    logits = np.float32(np.log(p / (1 - p))).reshape(1, 1, 3, 1)
    wanted = -(0.7**2) * np.log(0.3) - 0.4**4 * 0.8**2 * np.log(0.2) - 0.1**2 * np.log(0.9)
    np.testing.assert_allclose(HeatMapLoss().call(heat, logits), [wanted], rtol=1e-5)


def test_sizes_count_at_centres_only():
    targets = np.zeros((2, 2, 2, 3), np.float32)
    targets[0, 1, 0] = 3, 5, 1
    found = np.full((2, 2, 2, 2), 4.0, np.float32)
    np.testing.assert_allclose(CenterLoss().call(targets, found), [2.0, 0.0])


def test_a_transposed_convolution_is_a_convolution_between_zeros():
    """Zeros between the pixels, two around them, then the turned kernel as a plain convolution."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3, 5, 2))
    output = upsampled({5: inputs}, level=4, filters=3)[4]
    model = keras.Model(inputs, output)
    layer = model.get_layer('upsampling.step_0.conv')
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 2)).astype(np.float32)
    spread = np.zeros((5 + 4, 9 + 4, 2))
    spread[2:7:2, 2:11:2] = x[0]
    kernel = layer.get_weights()[0][::-1, ::-1]  # [4, 4, out, in]
    wanted = np.zeros((6, 10, 3))
    for i in range(6):
        for j in range(10):
            wanted[i, j] = np.einsum('abi,aboi->o', spread[i : i + 4, j : j + 4], kernel)
    np.testing.assert_allclose(layer(x)[0], wanted, atol=1e-5)


def test_the_network_has_maps_of_stride_4():
    config = load_config(CONFIG, {'fpn_num_filters': 8})
    model = centernet(config)
    outputs = model(np.zeros((2, 64, 96, 3), np.float32))
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == {
        'heat': (16, 24, 3),
        'size': (16, 24, 2),
        'offset': (16, 24, 2),
    }
    heat = 1 / (1 + np.exp(-outputs['heat'].numpy()))
    assert np.median(heat) == pytest.approx(0.1, abs=0.02)
    with pytest.raises(ConfigError, match="a CenterNet needs 'center'"):
        centernet('efficientdet-d0')


def test_a_bifpn_is_the_second_choice():
    changes = {'fpn_name': 'bifpn', 'max_level': 6, 'fpn_num_filters': 8, 'fpn_cell_repeats': 1}
    outputs = centernet(load_config(CONFIG, changes)).output
    assert tuple(outputs['heat'].shape[1:]) == (16, 24, 3)
