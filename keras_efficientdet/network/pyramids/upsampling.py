"""From the highest features of a backbone to one fine level, by transposed convolutions."""

import keras

from keras_efficientdet.network.blocks import activation, batch_norm, l2


def upsampled(features, *, level, filters, act_type='swish', weight_decay=0.0):
    """Doubles the size of the highest features until they are those of `level`.

    Args:
      features: {level: Keras tensor [B, h, w, C]}.
      level: of the result, below the highest.
      filters: channels of the result; each step before has twice as many as the next.
    Returns:
      {level: [B, h, w, filters]}.
    Source: Objects as Points, figure 6; three steps with 256, 128 and 64 channels there.
    """
    highest = max(features)
    x = features[highest]
    for step in range(highest - level):
        name = f'upsampling.step_{step}'
        width = filters * 2 ** (highest - level - 1 - step)
        x = batch_norm(f'{name}.bn')(_doubling(width, weight_decay, f'{name}.conv')(x))
        x = activation(act_type, f'{name}.activation')(x)
    return {level: x}


def _doubling(filters, weight_decay, name):
    return keras.layers.Conv2DTranspose(
        filters,
        4,
        2,
        'same',
        use_bias=False,
        kernel_regularizer=l2(weight_decay),
        name=name,
    )
