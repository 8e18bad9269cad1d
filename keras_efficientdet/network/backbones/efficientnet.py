"""EfficientNet and EfficientNet-Lite as feature extractors."""

import math
import typing

import keras

from keras_efficientdet.config.choices import SCALINGS
from keras_efficientdet.network.blocks import (
    FAN_OUT_NORMAL,
    activation,
    batch_norm,
    conv2d,
    depthwise_conv2d,
)
from keras_efficientdet.network.layers import StochasticDepth


class Stage(typing.NamedTuple):
    """A run of equal blocks; only the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    filters_in: int
    filters_out: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)
HEAD_FILTERS = 1280
SQUEEZE_RATIO = 0.25
DEFAULT_SURVIVAL = 0.8


def efficientnet(images, name, *, act_type='swish', survival_prob=None, weight_decay=0.0):
    """Builds the network on `images` and returns its features at each level of reduction.

    Args:
      images: Keras tensor [B, H, W, 3], normalised.
      name: a row of `config.choices.SCALINGS`: 'efficientnet-b0' to '-b8', 'efficientnet-l2',
        'efficientnet-lite0' to '-lite4'.
      act_type: activation; the Lite models were trained with 'relu6'.
      survival_prob: probability that the last block is kept while training (1.0 for the first
        block, linear between them). None: 0.8, but 1.0 for B0.
    Returns:
      {1: [B, H/2, W/2, C], ..., 5: [B, H/32, W/32, C]}, sizes rounded up: the output of the last
      block of each size.
    Raises:
      ValueError: unknown name.
    Source: EfficientNet paper table 1; google/automl efficientnetv1. Layer names are those of the
      checkpoints with . for /.
    """
    if name not in SCALINGS:
        raise ValueError(f'backbone {name!r}: expected one of {", ".join(SCALINGS)}')
    survival = survival_prob
    if survival is None:
        survival = 1.0 if 'b0' in name else DEFAULT_SURVIVAL
    x = _stem(images, name, act_type, weight_decay)
    features, level = {}, 1
    blocks = block_table(name)
    for i, block in enumerate(blocks):
        if block.stride == 2:
            features[level] = x
            level += 1
        x = mbconv(
            x,
            block,
            f'{name}.blocks_{i}',
            act_type=act_type,
            squeeze='lite' not in name,
            weight_decay=weight_decay,
            survival=1.0 - (1.0 - survival) * i / len(blocks),
        )
    return {**features, level: x}


def _stem(images, name, act_type, weight_decay):
    # The Lite models do not scale the width of their stem.
    filters = 32 if 'lite' in name else round_filters(32, SCALINGS[name][0])
    conv = conv2d(
        filters,
        3,
        strides=2,
        use_bias=False,
        initializer=FAN_OUT_NORMAL,
        weight_decay=weight_decay,
        name=f'{name}.stem.conv2d',
    )
    x = batch_norm(f'{name}.stem.tpu_batch_normalization')(conv(images))
    return activation(act_type, f'{name}.stem.activation')(x)


def mbconv(x, block, name, *, act_type, squeeze, survival, weight_decay):
    """Mobile inverted bottleneck: expand, depthwise convolution, squeeze and excitation, project.

    Where the shapes are equal, its input is added to its output.
    """
    style = {'initializer': FAN_OUT_NORMAL, 'weight_decay': weight_decay}
    inputs = x
    # The official names count within a block, so they depend on whether it expands.
    convs = iter(('conv2d', 'conv2d_1'))
    norms = iter(('', '_1', '_2'))
    if block.expand > 1:
        width = block.filters_in * block.expand
        x = conv2d(width, use_bias=False, name=f'{name}.{next(convs)}', **style)(x)
        x = batch_norm(f'{name}.tpu_batch_normalization{next(norms)}')(x)
        x = activation(act_type, f'{name}.expand_activation')(x)
    x = depthwise_conv2d(
        block.kernel, strides=block.stride, name=f'{name}.depthwise_conv2d', **style
    )(x)
    x = batch_norm(f'{name}.tpu_batch_normalization{next(norms)}')(x)
    x = activation(act_type, f'{name}.activation')(x)
    if squeeze:
        width = max(1, int(block.filters_in * SQUEEZE_RATIO))
        x = squeeze_excite(x, width, f'{name}.se', act_type, style)
    x = conv2d(block.filters_out, use_bias=False, name=f'{name}.{next(convs)}', **style)(x)
    x = batch_norm(f'{name}.tpu_batch_normalization{next(norms)}')(x)
    if block.stride == 1 and block.filters_in == block.filters_out:
        if survival < 1.0:
            x = StochasticDepth(survival, name=f'{name}.drop_connect')(x)
        x = keras.layers.Add(name=f'{name}.add')([x, inputs])
    return x


def squeeze_excite(x, filters, name, act_type, style):
    """Scales each channel by a gate computed from the channel means."""
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f'{name}.mean')(x)
    gate = conv2d(filters, name=f'{name}.conv2d', **style)(gate)
    gate = activation(act_type, f'{name}.activation')(gate)
    gate = conv2d(x.shape[-1], name=f'{name}.conv2d_1', **style)(gate)
    gate = keras.layers.Activation('sigmoid', name=f'{name}.gate')(gate)
    return keras.layers.Multiply(name=f'{name}.scale')([x, gate])


def block_table(name):
    """Every block of a network as a Stage with repeats = 1, widths and depths scaled."""
    width, depth = SCALINGS[name]
    fixed_ends = 'lite' in name  # the Lite models keep the repeats of their first and last stage
    blocks = []
    for i, stage in enumerate(STAGES):
        is_end = i in (0, len(STAGES) - 1)
        scaled = math.ceil(stage.repeats * depth)
        repeats = stage.repeats if fixed_ends and is_end else scaled
        filters_in = round_filters(stage.filters_in, width)
        filters_out = round_filters(stage.filters_out, width)
        blocks.append(stage._replace(repeats=1, filters_in=filters_in, filters_out=filters_out))
        again = blocks[-1]._replace(stride=1, filters_in=filters_out)
        blocks.extend([again] * (repeats - 1))
    return blocks


def head_filters(name):
    """Channels of the last convolution of a classifier; the Lite models do not scale them."""
    return HEAD_FILTERS if 'lite' in name else round_filters(HEAD_FILTERS, SCALINGS[name][0])


def round_filters(filters, width, divisor=8):
    """`filters * width` rounded to a multiple of `divisor`, but not down by more than 10 %."""
    filters *= width
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return int(rounded + divisor if rounded < 0.9 * filters else rounded)
