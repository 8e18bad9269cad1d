"""Forward passes against official outputs, parameter counts, names, saving."""

import keras
import numpy as np
import official
import pytest
import tensorflow as tf
from little import TINY

from keras_efficientdet import (
    CheckpointError,
    efficientdet,
    load_config,
    load_official,
    model_names,
)
from keras_efficientdet.config.official import from_official
from keras_efficientdet.network.heads.anchor import config_anchors
from keras_efficientdet.weights.official import official_shapes, official_weights

LIMIT = (
    1e-3  # of each tensor's standard deviation; a correct float32 implementation needs 1e-4 at most
)
SLOW = ('lite3_256',)
LATE = [pytest.mark.slow, pytest.mark.golden]
ISSUE = ['d0_256', 'd0_384x640', 'd0_600_nondiv128', 'd2_256', 'd7x_256', 'lite0_320', 'lite3_256']
VARIANTS = [
    'd0_128_act_mish',
    'd0_128_act_relu6',
    'd0_128_act_silu',
    'd0_128_act_srelu',
    'd0_128_act_swish_native',
    'd0_128_attn',
    'd0_128_channel_fastattn',
    'd0_128_cls3_anch',
    'd0_128_conv_bn_act',
    'd0_128_min4',
    'd0_128_negwsm_fastattn',
    'd0_128_no_bn_resample',
    'd0_128_no_separable',
    'd0_128_qufpn',
    'd0_128_seg',
    'd0_128_sum',
    'd0_128_survival08',
    'd0_256_batch2',
    'd0_256_max8',
    'd0_512',
    'd1_256',
    'd6_256',
    'lite0_192x128',
]
MUTATIONS = [
    'efficientnet-b0/blocks_7/conv2d/kernel',
    'fpn_cells/cell_1/fnode3/op_after_combine8/conv/pointwise_kernel',
    'class_net/class-1/pointwise_kernel',
    'box_net/box-0/depthwise_kernel',
]


def seeded(name, changes=()):
    """(model with the golden's weights, golden arrays, index entry)"""
    arrays = official.golden(f'forward/{name}.npz')
    if arrays is None:
        pytest.skip(f'golden forward/{name}.npz: only in the full set, which is not here')
    entry = official.index(f'forward/{name}.npz')
    height, width = official.rule_input(entry['rule']).shape[1:3]
    overrides = entry['rule']['config_overrides'] or {}
    if 'heads' in overrides:
        overrides = from_official(overrides).overrides
    config = load_config(entry['model'], [overrides, {'image_size': [height, width]}])
    model = efficientdet(config)
    weights = official.seeded_weights(official_shapes(model), entry['rule'])
    load_official(model, {k: v * 1.05 if k in changes else v for k, v in weights.items()})
    return model, arrays, entry


def worst(model, arrays, entry):
    rule = entry['rule']
    outputs = model(official.rule_input(rule), training=rule['training'])
    config = model.detection_config.model
    worst = official.worst_difference(outputs, arrays, entry['stats'], config)
    if 'segmentation' in outputs:
        masks = np.ravel(outputs['segmentation'])
        worst['seg'] = official.difference(masks, arrays, 'seg', entry['stats'])
    return worst


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=LATE) if n in SLOW else n for n in ISSUE + VARIANTS],
)
def test_forward_equals_official(name):
    differences = worst(*seeded(name))
    assert max(differences.values()) < LIMIT, differences


def test_training_forward_equals_official():
    # Batch statistics of two 1x1 features divide by nearly nothing: input noise of 1e-7 moves
    # cls_7 by 0.015 of its standard deviation.
    differences = worst(*seeded('d0_128_training_true'))
    assert differences.pop('cls_7') < 0.1
    assert max(differences.values()) < 5e-3, differences


@pytest.mark.parametrize('name', MUTATIONS)
def test_golden_notices_a_kernel_that_is_5_percent_off(name):
    assert max(worst(*seeded('d0_256', changes=[name])).values()) > LIMIT


def test_the_golden_of_the_segmentation_notices_a_kernel_that_is_5_percent_off():
    change = 'segmentation_head/conv2d_transpose_2/kernel'
    differences = worst(*seeded('d0_128_seg', changes=[change]))
    assert differences.pop('seg') > LIMIT > max(differences.values())


@pytest.mark.parametrize('name', model_names('efficientdet'))
def test_parameters_and_names_are_official(name):
    config = load_config(name)
    model = efficientdet(config)
    assert (
        sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        == config.expected.trainable_params
    )
    names = official.golden(f'names/{name}.json')
    if names is not None:
        assert official_shapes(model) == {
            n.removesuffix(':0'): tuple(shape) for n, shape, _ in names['keras']
        }
        assert model.count_params() == names['params_total']
        assert {n.removesuffix(':0') for n, _, trainable in names['keras'] if trainable} == {
            n for n in official_shapes(model) if not n.endswith(('moving_mean', 'moving_variance'))
        }


def test_odd_sizes_and_levels_give_one_output_per_anchor():
    for size, levels in (((77, 130), (3, 7)), ((96, 96), (2, 6)), ((200, 136), (4, 8))):
        config = load_config(
            'efficientdet-lite0',
            {
                'image_size': list(size),
                'min_level': levels[0],
                'max_level': levels[1],
                'fpn_cell_repeats': 1,
                'num_classes': 2,
            },
        )
        outputs = efficientdet(config)(np.zeros((2, *size, 3), np.float32))
        assert outputs['classes'].shape == (2, len(config_anchors(config)), 2)
        assert outputs['boxes'].shape == (2, len(config_anchors(config)), 4)


def test_untrained_scores_are_the_prior():
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 128}))
    outputs = model(np.random.default_rng(0).standard_normal((1, 128, 128, 3)).astype(np.float32))
    probability = 1 / (1 + np.exp(-np.asarray(outputs['classes'])))
    assert np.mean(probability) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize('fusion', ['fastattn', 'channel_attn', 'sum'])
def test_save_and_load_round_trip(tmp_path, fusion):
    config = load_config(
        'efficientdet-d0',
        {
            'image_size': 96,
            'num_classes': 2,
            'label_map': {3: 'cat', 18: 'dog'},
            'fpn_weight_method': fusion,
        },
    )
    model = efficientdet(config)
    load_official(
        model,
        official.seeded_weights(official_shapes(model), {'fpn_gain': 1.4, 'project_gain': 1.0}),
    )
    images = official.make_input(2, 96, 96, 1)
    before = model(images)
    model.save(tmp_path / 'm.keras')
    model.save_weights(str(tmp_path / 'm.weights.h5'))
    whole = keras.models.load_model(tmp_path / 'm.keras')
    assert whole.detection_config == config
    again = efficientdet(config, weights=str(tmp_path / 'm.weights.h5'))
    clone = keras.models.clone_model(model)  # of the architecture alone, so it needs the weights
    clone.set_weights(model.get_weights())
    for other in (whole, again, clone):
        after = other(images)
        np.testing.assert_array_equal(before['classes'], after['classes'])
        np.testing.assert_array_equal(before['boxes'], after['boxes'])


@pytest.mark.parametrize('form', ['mapping', 'Keras file'])
def test_weights_of_other_classes_give_all_but_the_class_prediction(form, tmp_path, caplog):
    three, five = (
        load_config('efficientdet-lite0', {**TINY, 'num_classes': count}) for count in (3, 5)
    )
    source = efficientdet(five)
    weights = wanted = official_weights(source)
    if form == 'Keras file':
        weights = str(tmp_path / 'five.weights.h5')
        source.save_weights(weights)
    with pytest.raises((CheckpointError, ValueError), match='shape'):
        efficientdet(three, weights)
    found = official_weights(efficientdet(three, weights, on_class_mismatch='reinit'))
    assert 'the class prediction is newly initialised, all other weights are loaded' in caplog.text
    fresh = {name for name, value in found.items() if value.shape != wanted[name].shape}
    assert fresh == {'class_net/class-predict/bias', 'class_net/class-predict/pointwise_kernel'}
    np.testing.assert_allclose(found['class_net/class-predict/bias'], -np.log(99.0), rtol=1e-6)
    for name in set(found) - fresh:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    caplog.clear()
    efficientdet(five, weights, on_class_mismatch='reinit')
    assert not caplog.records


def test_two_models_in_one_process_have_the_same_names():
    config = load_config('efficientdet-lite0', {'image_size': 64})
    assert (
        official_weights(efficientdet(config)).keys()
        == official_weights(efficientdet(config)).keys()
    )


def test_every_edge_weight_gets_a_gradient():
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 128, 'num_classes': 2}))
    images = official.make_input(
        2, 128, 128, 0
    )  # two, since batch norm of a single 1x1 feature has no gradient
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_sum(outputs['classes'] ** 2) + tf.reduce_sum(outputs['boxes'] ** 2)
    variables = [v for v in tape.watched_variables() if tuple(v.shape) in ((2,), (3,))]
    assert len(variables) == 24
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert np.all(np.abs(gradient.numpy()) > 0), variable.name
