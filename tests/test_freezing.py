"""Frozen layers: patterns, byte for byte equality, and the official step over the variables that
are left."""

import numpy as np
import pytest
import tensorflow as tf
from test_training import LOSS, MEDIAN, WORST, differences, official_batch, official_run

from keras_efficientdet import compile_for_training, efficientdet, load_config
from keras_efficientdet.config.official import from_official
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.freezing import freeze
from keras_efficientdet.weights.official import (
    load_official,
    official_shapes,
    official_variables,
    official_weights,
)

VOC = '(efficientnet|fpn_cells|resample_p6)'  # officially in voc_config.yaml


def official_freeze(expression):
    return from_official({'var_freeze_expr': expression}).overrides['freeze']


def small(**train):
    return efficientdet(
        load_config(
            'efficientdet-lite0',
            {'image_size': 64, 'num_classes': 2, 'fpn_cell_repeats': 1, **train},
        )
    )


@pytest.fixture(scope='module')
def model():
    return small()


def frozen_names(model):
    frozen = {layer.name.replace('.', '/') for layer in model.layers if not layer.trainable}
    for layer in model.layers:
        layer.trainable = True
    return {name for name in official_variables(model) if name.rpartition('/')[0] in frozen}


@pytest.mark.parametrize(
    'patterns, chosen',
    [
        (('efficientnet',), lambda n: n.startswith('efficientnet-lite0/')),
        (
            (r'blocks_[0-3]/', 'stem'),
            lambda n: any(
                f'/{p}/' in n for p in ('stem', 'blocks_0', 'blocks_1', 'blocks_2', 'blocks_3')
            ),
        ),
        (
            ('combine8/conv$',),
            lambda n: 'combine8/conv/' in n,
        ),  # the end of a layer's name takes the whole layer
        ((r'(gamma|beta|moving_mean|moving_variance)$',), lambda n: 'bn' in n or 'batch_norm' in n),
        (
            official_freeze(VOC),
            lambda n: n.startswith(('efficientnet', 'fpn_cells', 'resample_p6')),
        ),
        (official_freeze('cell|box'), lambda n: n.startswith('box')),
    ],
)
def test_patterns_choose_by_official_names(model, patterns, chosen):
    said = freeze(model, patterns)
    wanted = {name for name in official_variables(model) if chosen(name)}
    assert frozen_names(model) == wanted
    count = sum(int(np.prod(official_shapes(model)[name])) for name in wanted)
    assert f' {len(wanted)} variables, {count:,} parameters' in said


@pytest.mark.parametrize(
    'patterns, message',
    [
        (('efficientnet', 'fpn_cels'), "'fpn_cels' matches no variable; did you mean fpn_cells"),
        (('zzz',), 'names begin with box_net'),
        (('stem/conv2',), None),
        (('box-0/bias',), 'matches box_net/box-0/bias but not'),
        (('(',), 'not a regular expression'),
        (('',), 'nothing is left to train'),
    ],
)
def test_bad_patterns_are_named(model, patterns, message):
    if message is None:
        freeze(model, patterns)
        assert frozen_names(model) == {'efficientnet-lite0/stem/conv2d/kernel'}
        return
    with pytest.raises(ConfigError, match=message):
        freeze(model, patterns)
    assert frozen_names(model) == set()


def test_a_second_stage_trains_what_the_first_one_froze():
    model = small(freeze=['efficientnet', 'box_net'])
    model.get_layer('class_net.class-predict').trainable = False  # by the user
    trainable = {layer.name for layer in model.layers if layer.trainable}
    compile_for_training(model, steps_per_epoch=10)
    compile_for_training(
        model, load_config(model.detection_config, {'freeze': ['efficientnet']}), 10
    )
    left = {layer.name for layer in model.layers if not layer.trainable}
    assert 'class_net.class-predict' in left
    assert {name.partition('.')[0] for name in left} == {'efficientnet-lite0', 'class_net'}
    compile_for_training(model, load_config(model.detection_config, {'freeze': None}), 10)
    assert {layer.name for layer in model.layers if layer.trainable} == trainable


def test_nothing_of_a_frozen_layer_changes(caplog):
    caplog.set_level('INFO')
    model = small(freeze=['efficientnet', r'cell_0/fnode[0-4]'], batch_size=2, weight_decay=0.1)
    compile_for_training(model, steps_per_epoch=10)
    assert caplog.messages[0].startswith('frozen: ')
    before, config = official_weights(model), model.detection_config
    entry = {'gts': [([[8.0, 8.0, 40.0, 40.0]], [1]), ([[20.0, 16.0, 50.0, 60.0]], [2])]}
    batch = official_batch(config, entry, 0).map(lambda x, y, w: (x[:, :64, :64], y, w)).repeat(3)
    model.fit(batch, verbose=0)
    frozen = {layer.name.replace('.', '/') for layer in model.layers if not layer.trainable}
    averages = {
        id(v): a for v, a in zip(model.plan.state.variables, model.plan.state.averages, strict=True)
    }
    assert len(frozen) > 50
    for name, value in official_weights(model).items():
        same = np.array_equal(value, before[name])
        if name.rpartition('/')[0] in frozen:
            variable, i = official_variables(model)[name]
            assert same and np.array_equal(
                np.asarray(averages[id(variable)])[... if i is None else i], value
            ), name
        else:
            assert not same or not name.endswith('kernel'), (
                name
            )  # others may move by less than their last bit


class OfficialStep:
    """The official train step written out: a tape over what is not frozen, its L2, clipping
    twice, SGD or Adam."""

    def __init__(self, model, frozen):
        self.model = model
        for layer in model.layers:
            layer.trainable = not layer.name.startswith(
                frozen
            )  # only so that batch norm of frozen layers is at inference
        free = {n: v for n, (v, _) in official_variables(model).items() if trains(n, frozen)}
        self.variables = list({id(v): v for n, v in free.items() if 'moving_' not in n}.values())
        self.kernels = [v for n, v in free.items() if n.endswith('kernel')]
        self.first, self.second = [0.0] * len(self.variables), [0.0] * len(self.variables)

    @tf.function
    def gradients(self, images, truth, weights):
        with tf.GradientTape() as tape:
            loss = self.detection_loss(
                self.model(images, training=True), truth, weights['boxes'][0]
            )
            loss += tf.add_n([4e-5 * tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in self.kernels])
        return loss, tape.gradient(loss, [getattr(v, '_value', v) for v in self.variables])

    @staticmethod
    def detection_loss(outputs, truth, weight):
        """Focal loss (alpha 0.25, gamma 1.5) and 50 x Huber (delta 0.1), summed, over 1 +
        positives."""
        hot, p = (
            tf.one_hot(truth['classes'], outputs['classes'].shape[-1]),
            tf.sigmoid(outputs['classes']),
        )
        right = hot * p + (1.0 - hot) * (1.0 - p)
        focal = (
            (hot * 0.25 + (1.0 - hot) * 0.75)
            * (1.0 - right) ** 1.5
            * tf.nn.sigmoid_cross_entropy_with_logits(hot, outputs['classes'])
        )
        counted = tf.cast(truth['classes'] != -2, tf.float32)[..., None]
        error = tf.abs(outputs['boxes'] - truth['boxes'])
        huber = tf.where(error < 0.1, 0.5 * error**2, 0.1 * error - 0.005) * tf.cast(
            truth['boxes'] != 0, tf.float32
        )
        return weight * (tf.reduce_sum(focal * counted) + 50.0 * tf.reduce_sum(huber) / 4.0)

    def step(self, number, rate, batch, adam):
        loss, gradients = self.gradients(*batch)
        gradients = [g.numpy() for g in gradients]
        gradients = [g * 10.0 / max(np.linalg.norm(g), 10.0) for g in gradients]
        norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradients))
        for i, gradient in enumerate(g * 10.0 / max(norm, 10.0) for g in gradients):
            self.first[i] = 0.9 * self.first[i] + (0.1 if adam else 1.0) * gradient
            self.second[i] = 0.999 * self.second[i] + 0.001 * gradient**2
            change = rate * self.first[i]
            if adam:
                change *= (
                    np.sqrt(1.0 - 0.999**number)
                    / (1.0 - 0.9**number)
                    / (np.sqrt(self.second[i]) + 1e-7)
                )
            self.variables[i].assign(self.variables[i].numpy() - change.astype(np.float32))
        return float(loss)


def relative(found, wanted):
    """Largest difference over largest value, by name; without the bias that has no true
    gradient."""
    return {
        n: float(np.max(np.abs(found[n] - wanted[n])) / max(np.max(np.abs(wanted[n])), 1e-8))
        for n in wanted
        if n != 'resample_p6/conv2d/bias'
    }


def trains(name, prefixes):
    """Whether a variable trains."""
    return not name.replace('/', '.').startswith(prefixes)


@pytest.mark.parametrize(
    'name, expression',
    [
        ('train_sgd_ema_legacyopt', VOC),
        ('train_adam_noema', VOC),
        ('train_sgd_ema_legacyopt', 'efficientnet-b0/blocks_1|box_net'),
        ('train_sgd_noema', None),
    ],
)
@pytest.mark.slow
def test_trajectory_is_that_of_an_official_step_over_what_is_left(name, expression):
    """With nothing frozen the step written out meets the golden; with layers frozen, fit meets
    the step written out."""
    model, config, arrays, entry = official_run(name)
    kind, steps = (
        config.train.optimizer,
        entry['loss_vals'][:2],
    )  # at the third, rounding has grown to percents
    other = efficientdet(config)
    load_official(other, official_weights(model))
    prefixes = tuple((expression or 'none').strip('()').replace('/', '.').split('|'))
    oracle, before = OfficialStep(other, prefixes), official_weights(model)
    if expression:
        config = load_config(config, {'freeze': official_freeze(expression)})
        compile_for_training(model, config, entry['params']['steps_per_epoch'])
    for i, values in enumerate(steps):
        (batch,) = official_batch(config, entry, i)
        loss = oracle.step(i + 1, values['learning_rate'], batch, kind == 'adam')
        if not expression:
            assert loss == pytest.approx(values['loss'], rel=LOSS[kind][i])
            assert (
                max(differences(official_weights(other), arrays, f'step{i + 1}').values())
                < 2 * WORST[kind][i]
            )
            continue
        logs = model.fit(official_batch(config, entry, i), verbose=0).history
        assert logs['loss'][0] == pytest.approx(loss, rel=LOSS[kind][i])
        found = relative(
            official_weights(model),
            {n: v for n, v in official_weights(other).items() if trains(n, prefixes)},
        )
        worst = sorted((value, name) for name, value in found.items())
        assert (
            worst[-1][0] < 10 * WORST[kind][i]
        )  # of every variable in full, where the goldens recorded a few
        assert worst[len(worst) // 2][0] < MEDIAN[kind][i]
    moved = {n for n, v in official_weights(model).items() if not np.array_equal(v, before[n])}
    free = {n for n in before if trains(n, prefixes)}
    assert not expression or (
        moved <= free and len(moved) > 0.8 * len(free)
    )  # levels without boxes have no box gradient
