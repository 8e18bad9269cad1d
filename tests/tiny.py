"""A detector of a few thousand weights with every kind of layer, for tests of the training step
itself."""

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet import compile_for_training, load_config
from keras_efficientdet.network.blocks import activation, batch_norm, conv2d, separable_conv2d
from keras_efficientdet.network.detection_model import DetectionModel
from keras_efficientdet.network.layers import (
    EdgeWeights,
    Fuse,
    StochasticDepth,
)
from keras_efficientdet.network.resizing import NearestResize, UpSampling2D

OUTPUTS = {'classes': 3, 'boxes': 4}


def network(config):
    """[B, 16, 16, 3] -> classes [B, 64, 3], boxes [B, 64, 4]"""
    keras.utils.set_random_seed(1)
    images = keras.Input((16, 16, 3), name='images')
    x = activation('swish', 'act')(
        batch_norm('bn')(conv2d(8, 3, strides=2, weight_decay=0.01, name='stem')(images))
    )
    for i in range(3):
        branch = batch_norm(f'bn{i}')(separable_conv2d(8, weight_decay=0.01, name=f'conv{i}')(x))
        branch = StochasticDepth(0.5, name=f'drop{i}')(branch)
        x = activation('swish', f'act{i}')(keras.layers.Add(name=f'add{i}')([x, branch]))
    small = keras.layers.MaxPooling2D(3, 2, 'same', name='pool')(x)
    odd = NearestResize((8, 8), name='odd')(
        keras.layers.AveragePooling2D(3, 3, 'same', name='third')(x)
    )
    met = [x, UpSampling2D(name='up')(small), odd]
    x = Fuse('fastattn', name='fuse')([*met, EdgeWeights(3, name='edges')(x)])
    outputs = {}
    for name, width in OUTPUTS.items():
        y = conv2d(width, 3, name=f'{name}-predict', dtype='float32')(x)
        outputs[name] = keras.layers.Reshape((64, width), name=name, dtype='float32')(y)
    model = DetectionModel(images, outputs)
    model.detection_config = config
    return model


def compiled(model=None, trains=True, **train):
    """A tiny detector, compiled; with `trains=False` its batch norm is frozen."""
    config = load_config(
        'efficientdet-d0',
        {'batch_size': 8, 'num_classes': 3, 'num_epochs': 5, 'moving_average_decay': 0.9, **train},
    )
    model = model or network(config)
    for layer in model.layers:
        layer.trainable = trains or not layer.name.startswith('bn')
    compile_for_training(model, config, steps_per_epoch=2)
    return model


def batches(count, size=8):
    """tf.data as `dataset` gives it: images, targets, weights."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, size, 16, 16, 3)).astype(np.float32)
    classes = rng.integers(-2, 3, (count, size, 64)).astype(np.int32)
    boxes = (rng.standard_normal((count, size, 64, 4)) * (classes >= 0)[..., None]).astype(
        np.float32
    )
    weights = np.repeat(
        1.0 / (1.0 + (classes != -1).sum((1, 2), keepdims=True)[:, 0]), size, 1
    ).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(
        (images, {'classes': classes, 'boxes': boxes}, {'classes': weights, 'boxes': weights})
    )


def values(model):
    """{name: array} of weights and averages."""
    state = model.plan.state
    weights = {
        f'{layer.name}/{i}': _array(w)
        for layer in model.layers
        for i, w in enumerate(layer.weights)
    }
    return weights | {f'average {i}': _array(a) for i, a in enumerate(state.averages)}


def _array(variable):
    return np.asarray(tf.convert_to_tensor(variable))  # of one device or of several


def difference(found, wanted):
    """Largest difference over largest value, of all tensors."""
    return max(
        float(np.max(np.abs(found[n] - wanted[n])) / max(np.max(np.abs(wanted[n])), 1e-3))
        for n in wanted
    )
