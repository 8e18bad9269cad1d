"""The segmentation head: its graph written out, its targets, its loss, its masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from little import TINY

from keras_efficientdet import ConfigError, efficientdet, load_config
from keras_efficientdet.network.heads import head_of, segmentation
from keras_efficientdet.network.losses import SegmentationLoss
from keras_efficientdet.weights.official import official_shapes


def config(**settings):
    return load_config(
        'efficientdet-lite0', [TINY, {'head': 'segmentation', 'num_classes': 3}, settings]
    )


def transposed(x, kernel, bias):
    """A transposed convolution of stride 2, 'same', written out: zeros between, then a convolution.

    kernel is [3, 3, out, in], as TensorFlow stores it.
    """
    batch, height, width, channels = x.shape
    spread = np.zeros((batch, 2 * height + 2, 2 * width + 2, channels), np.float64)
    spread[:, 2::2, 2::2] = x  # two zeros in front
    out = np.zeros((batch, 2 * height, 2 * width, kernel.shape[2]))
    for i in range(3):
        for j in range(3):
            part = spread[:, i : i + 2 * height, j : j + 2 * width]
            out += part @ kernel[2 - i, 2 - j].T
    return out + bias


@pytest.mark.parametrize('bias', [True, False])
def test_a_transposed_convolution_is_zeros_put_between_and_a_convolution(bias):
    layer = segmentation._doubling(4, 'doubling', 0.0, use_bias=bias)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype(np.float32)
    found = np.asarray(layer(x))
    weights = [np.random.default_rng(k).normal(size=w.shape) for k, w in enumerate(layer.weights)]
    layer.set_weights(weights)
    kernel, *rest = weights
    np.testing.assert_allclose(layer(x), transposed(x, kernel, *rest or [0.0]), atol=1e-5)
    assert found.shape == (2, 6, 10, 4)


def test_names_are_official():
    names = list(official_shapes(efficientdet(config(max_level=7, min_level=3))))
    assert {n.rpartition('/')[0] for n in names if n.startswith('segmentation_head')} == {
        f'segmentation_head/{layer}'
        for layer in (
            *('conv2d_transpose', 'conv2d_transpose_1', 'conv2d_transpose_2'),
            *('conv2d_transpose_3', 'conv2d_transpose_4', 'bn_0', 'bn_1', 'bn_2', 'bn_3'),
        )
    }


def test_features_of_odd_sizes_are_joined():
    """At 100 x 150, level 4 is 7 x 10 and level 5 is 4 x 5: doubled, level 5 is a row too high."""
    model = efficientdet(config(image_size=[100, 150]))
    assert tuple(model.output['segmentation'].shape) == (None, 14, 20, 4)
    assert head_of(config(image_size=[100, 150])).mask(
        model(tf.zeros([1, 100, 150, 3])), model.detection_config
    ).shape == (1, 100, 150)


def test_channels_are_background_and_classes_or_as_configured():
    assert segmentation.channels(config().model) == 4
    assert segmentation.channels(config(seg_num_classes=21).model) == 21


def test_targets_have_the_shape_of_the_logits_and_count_what_is_known():
    settings = config(image_size=[100, 150])
    mask = np.full((100, 150, 1), 255, np.uint8)
    mask[:50] = 2
    encode = head_of(settings).targets(settings)
    encoded, known = encode(np.zeros((0, 4)), np.zeros(0, int), mask=tf.constant(mask))
    assert encoded['segmentation'].shape == (14, 20)
    # Cells of 8 pixels: the middles of the first 6 rows are above row 50, of the first 19 columns
    # left of column 150.
    assert int(known) == 6 * 19 == np.sum(encoded['segmentation'].numpy() == 2)


def test_too_few_channels_for_the_classes_are_refused():
    with pytest.raises(ConfigError, match=r'seg_num_classes=3 .* num_classes=3; set it to 4'):
        head_of(config(seg_num_classes=3)).targets(config(seg_num_classes=3))


def test_the_loss_by_hand():
    logits = np.log([[[[1.0, 3.0], [2.0, 2.0], [9.0, 1.0]]]])  # [1, 1, 3, 2]
    classes = np.array([[[1, 0, 255]]])
    loss = SegmentationLoss(reduction='none')(classes, logits)
    np.testing.assert_allclose(loss, [-np.log(0.75) - np.log(0.5)], rtol=1e-6)


def test_the_loss_of_nothing_known_is_0_with_a_gradient_of_0():
    logits = tf.Variable(tf.random.normal([1, 2, 2, 3]))
    with tf.GradientTape() as tape:
        loss = SegmentationLoss()(tf.fill([1, 2, 2], 255), logits)
    assert float(loss) == 0.0 and not np.any(tape.gradient(loss, logits))


def test_masks_have_the_class_of_the_largest_logit():
    settings = config()
    height, width = 16, 16  # of the logits of a 128 x 128 image whose lowest level is 4
    logits = np.zeros((1, height, width, 4), np.float32)
    logits[0, :, :8, 2] = 5.0
    logits[0, :, 8:, 1] = 5.0
    mask = head_of(settings).mask({'segmentation': tf.constant(logits)}, settings).numpy()
    assert mask.shape == (1, 128, 128) and mask.dtype == np.uint8
    assert np.all(mask[0, :, :64] == 2) and np.all(mask[0, :, 64:] == 1)


def test_both_heads_together_are_each_alone():
    both = efficientdet(config(head='anchor+segmentation'))
    alone = {head: efficientdet(config(head=head)) for head in ('anchor', 'segmentation')}
    x = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    outputs = both(x)
    assert set(outputs) == {'classes', 'boxes', 'segmentation'}
    for model in alone.values():
        for layer in model.layers:
            layer.set_weights(both.get_layer(layer.name).get_weights())
        for name, value in model(x).items():
            np.testing.assert_allclose(value, outputs[name], atol=1e-5)


def test_each_output_is_divided_by_what_it_counts():
    settings = config(head='anchor+segmentation')
    head = head_of(settings)
    mask = np.full((128, 128, 1), 255, np.uint8)
    mask[:8, :16] = 1
    boxes, classes = np.float32([[10, 10, 90, 90]]), np.array([1])
    targets, positives = head.targets(settings)(boxes, classes, mask=tf.constant(mask))
    anchors = np.sum(targets['classes'].numpy() >= 0)
    assert anchors > 0
    weights = {name: float(w) for name, w in head.weights(positives, targets).items()}
    assert weights == pytest.approx(
        {'classes': 1 / (1 + anchors), 'boxes': 1 / (1 + anchors), 'segmentation': 1 / 2}
    )


def test_a_loaded_model_is_the_saved_one(tmp_path):
    model = efficientdet(config(head='anchor+segmentation'))
    model.save(tmp_path / 'model.keras')
    loaded = keras.models.load_model(tmp_path / 'model.keras')
    x = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    for name, value in model(x).items():
        np.testing.assert_array_equal(loaded(x)[name], value)
