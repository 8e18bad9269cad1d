"""What a detection head is, and the tower of shared convolutions that every head is made of."""

import dataclasses
import typing

import keras

from keras_efficientdet.network.blocks import activation, batch_norm, conv2d, separable_conv2d
from keras_efficientdet.network.layers import StochasticDepth


@dataclasses.dataclass(frozen=True)
class Head:
    """Five functions; training, data, evaluation, export and serving see nothing else of a head.

    build(features, config) -> {name: Keras tensor [B, ...]}
    targets(config) -> function (boxes [N, 4] pixels of the input, classes [N]) -> ({name: target}, positives)
    losses(config) -> ({name: keras.losses.Loss}, {name: weight})
    positives(targets [B, ...]) -> float32, how many positives the batch has: the losses are divided by 1 + that
    detect(outputs, config) -> boxes [B, D, 4] pixels of the input, scores [B, D], classes [B, D], count [B]
    """

    build: typing.Callable
    targets: typing.Callable
    losses: typing.Callable
    positives: typing.Callable
    detect: typing.Callable


def conv_tower(
    features,
    *,
    name,
    repeats,
    filters,
    outputs,
    bias_initializer='zeros',
    act_type='swish',
    separable=True,
    survival_prob=None,
    weight_decay=0.0,
):
    """Convolutions shared over all levels, with a batch norm of each level's own, and a last one without norm.

    Args:
      features: {level: [B, h, w, C]}.
      name: prefix of the layer names, 'class_net.class'.
      survival_prob: stochastic depth; setting it adds a residual from the second convolution on, at inference too.
    Returns:
      {level: [B, h, w, outputs]}, float32.
    """
    style = {'weight_decay': weight_decay}
    if separable:
        style['initializer'] = {'class_name': 'VarianceScaling', 'config': {}}
        conv = separable_conv2d
    else:
        style.update(
            initializer={'class_name': 'RandomNormal', 'config': {'stddev': 0.01}}, kernel_size=3
        )
        conv = conv2d
    convs = [conv(filters, name=f'{name}-{i}', **style) for i in range(repeats)]
    predict = conv(
        outputs, name=f'{name}-predict', bias_initializer=bias_initializer, dtype='float32', **style
    )
    towers = {}
    for level, x in features.items():
        for i, layer in enumerate(convs):
            inputs = x
            x = batch_norm(f'{name}-{i}-bn-{level}')(layer(x))
            x = activation(act_type, f'{name}-{i}-activation-{level}')(x)
            if survival_prob and i > 0:
                x = StochasticDepth(survival_prob, name=f'{name}-{i}-drop-{level}')(x)
                x = keras.layers.Add(name=f'{name}-{i}-add-{level}')([x, inputs])
        towers[level] = predict(x)
    return towers
