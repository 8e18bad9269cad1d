"""The tower of shared convolutions, and the anchor head's four functions together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet import load_config
from keras_efficientdet.network.heads.anchor import HEAD, config_anchors
from keras_efficientdet.network.heads.head import conv_tower
from keras_efficientdet.ops.anchors import encode


def tower(**options):
    features = {level: keras.Input((size, size, 8)) for level, size in ((3, 8), (4, 4))}
    outputs = conv_tower(features, name='net.class', repeats=2, filters=8, outputs=6, **options)
    return keras.Model(features, list(outputs.values()))


def test_convolutions_are_shared_and_norms_are_not():
    names = [layer.name for layer in tower().layers]
    assert sorted(n for n in names if n in ('net.class-0', 'net.class-1', 'net.class-predict')) == [
        'net.class-0',
        'net.class-1',
        'net.class-predict',
    ]
    assert {n for n in names if '-bn-' in n} == {
        f'net.class-{i}-bn-{level}' for i in (0, 1) for level in (3, 4)
    }


def test_plain_convolutions_start_small():
    kernel = tower(separable=False).get_layer('net.class-0').get_weights()[0]
    assert kernel.shape == (3, 3, 8, 8) and np.std(kernel) == pytest.approx(0.01, rel=0.2)


def test_the_residual_is_there_only_with_survival_prob():
    assert not [layer for layer in tower().layers if isinstance(layer, keras.layers.Add)]
    assert (
        len(
            [
                layer
                for layer in tower(survival_prob=0.8).layers
                if isinstance(layer, keras.layers.Add)
            ]
        )
        == 2
    )


def test_what_targets_encode_detect_finds_again():
    """Perfect outputs, made of the targets, come back as the ground truth."""
    config = load_config(
        'efficientdet-d0', {'image_size': [128, 192], 'num_classes': 4, 'max_output_size': 5}
    )
    boxes = np.array([[10, 12, 70, 90], [60, 100, 120, 180], [5, 120, 25, 140]], np.float32)
    classes = np.array([3, 0, 1])
    truth, positives = HEAD.targets(config)(boxes, classes)
    ids = truth['classes'].numpy()
    assert int(positives) == np.sum(ids >= 0)
    logits = np.where(np.eye(4)[np.maximum(ids, 0)] * (ids >= 0)[:, None], 6.0, -9.0).astype(
        np.float32
    )
    found = HEAD.detect({'classes': logits[None], 'boxes': truth['boxes'][None]}, config)
    strong = found[1][0].numpy() > 0.9
    np.testing.assert_array_equal(np.sort(found[2][0].numpy()[strong]), np.sort(classes))
    for box, k in zip(found[0][0].numpy()[strong], found[2][0].numpy()[strong], strict=True):
        np.testing.assert_allclose(box, boxes[classes == k][0], atol=0.05)


def test_boxes_are_cut_to_the_input():
    config = load_config(
        'efficientdet-d0', {'image_size': 64, 'num_classes': 1, 'score_thresh': 0.5}
    )
    anchor_boxes = config_anchors(config)
    logits = np.full((1, len(anchor_boxes), 1), -9, np.float32)
    logits[0, 100] = 9
    codes = np.zeros((1, len(anchor_boxes), 4), np.float32)
    codes[0, 100] = encode(np.array([-20.0, -10.0, 90.0, 30.0], np.float32), anchor_boxes[100])
    boxes, _, _, count = HEAD.detect(
        {'classes': tf.constant(logits), 'boxes': tf.constant(codes)}, config
    )
    assert int(count[0]) == 1
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 64, 30], atol=1e-3)
