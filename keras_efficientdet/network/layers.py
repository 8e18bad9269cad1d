"""The layers that Keras does not have. All are registered, so saved models load without `custom_objects`."""

import contextlib
import threading
import zlib

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.network.replicas import replica_count, sum_over_replicas

_register = keras.saving.register_keras_serializable('keras_efficientdet')
FUSE_EPSILON = 1e-4
_STEP = threading.local()  # replicas are traced in threads of their own


@_register
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation with TensorFlow's fused kernel on one device, synchronised over several replicas.

    Keras 3 moves the variance by the biased batch variance (N), the official checkpoints by the fused kernel's
    unbiased one (N / (N - 1)), which differs by 2 % a step on the 1x1 level 7. Over replicas N counts all of them, so that
    statistics are those of one device with the whole batch. A frozen layer runs in inference mode.
    """

    def __init__(self, **kwargs):
        super().__init__(**{'synchronized': True, **kwargs})

    @property
    def momentum(self):
        """1 while a step computes its features again: the statistics have moved already."""
        return 1.0 if getattr(_STEP, 'again', False) else self._momentum

    @momentum.setter
    def momentum(self, value):
        self._momentum = value

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        gamma, beta, mean, variance = (
            tf.cast(tf.convert_to_tensor(v), tf.float32)
            for v in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        if not training:
            return tf.compat.v1.nn.fused_batch_norm(
                inputs, gamma, beta, mean, variance, self.epsilon, is_training=False
            )[0]
        normalize = _over_replicas if replica_count() > 1 else _fused
        outputs, batch_mean, batch_variance = normalize(inputs, gamma, beta, self.epsilon)
        self.moving_mean.assign(mean * self.momentum + batch_mean * (1.0 - self.momentum))
        self.moving_variance.assign(
            variance * self.momentum + batch_variance * (1.0 - self.momentum)
        )
        return outputs


def _fused(inputs, gamma, beta, epsilon):
    """(normalised inputs, mean [C], unbiased variance [C])"""
    return tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon, is_training=True)


def _over_replicas(inputs, gamma, beta, epsilon):
    """`_fused` of the batch of all replicas. Two exchanges: the mean of squares less the squared mean loses the digits of
    features that hardly vary."""
    x = tf.cast(inputs, tf.float32)
    places = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
    total, count = tf.split(
        sum_over_replicas(tf.concat([tf.reduce_sum(x, [0, 1, 2]), places[None]], 0)),
        [x.shape[-1], 1],
    )
    mean = total / count
    squares = sum_over_replicas(
        tf.reduce_sum(tf.math.squared_difference(x, tf.stop_gradient(mean)), [0, 1, 2])
    )
    variance = (
        squares / count
    )  # that the mean moves too changes no sum of squares: deviations add up to 0
    outputs = (x - mean) * (tf.math.rsqrt(variance + epsilon) * gamma) + beta
    return tf.cast(outputs, inputs.dtype), mean, variance * count / tf.maximum(count - 1.0, 1.0)


@_register
class EdgeWeights(keras.layers.Layer):
    """The weights of the edges into one BiFPN node: one variable `WSM` [edges], or [edges, channels] per channel.

    Called on any tensor (whose value it ignores) so that it stands in a functional graph. The official code keeps one
    variable per edge (WSM, WSM_1, ...); `checkpoints` packs and unpacks them.
    """

    def __init__(self, edges, channels=0, **kwargs):
        super().__init__(**kwargs)
        self.edges, self.channels = edges, channels

    def build(self, input_shape):
        shape = (self.edges, self.channels) if self.channels else (self.edges,)
        self.WSM = self.add_weight(name='WSM', shape=shape, initializer='ones', trainable=True)

    def call(self, inputs):
        return tf.cast(tf.convert_to_tensor(self.WSM), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return (self.edges, self.channels) if self.channels else (self.edges,)

    def get_config(self):
        return {**super().get_config(), 'edges': self.edges, 'channels': self.channels}


def _fast_attention(features, weights):
    weights = tf.unstack(tf.nn.relu(weights))
    total = tf.add_n(weights) + FUSE_EPSILON
    return _left_to_right([x * w / total for x, w in zip(features, weights, strict=True)])


def _attention(features, weights):
    return _left_to_right(
        [x * w for x, w in zip(features, tf.unstack(tf.nn.softmax(weights, axis=0)), strict=True)]
    )


def _left_to_right(terms):
    """The official order of addition: float32 sums depend on it."""
    total = terms[0]
    for term in terms[1:]:
        total += term
    return total


FUSIONS = {
    'fastattn': _fast_attention,
    'channel_fastattn': _fast_attention,
    'attn': _attention,
    'channel_attn': _attention,
}


@_register
class Fuse(keras.layers.Lambda):
    """Weighted sum of the features that meet in a BiFPN node: [feature, ..., edge weights] -> feature.

    `method`: 'fastattn' relu(w) / (sum + 1e-4), 'attn' softmax(w), or 'channel_' of either with weights per channel.
    A plain Lambda around a Python function is refused on loading by Keras' safe mode; this one is named by its string.
    Source: EfficientDet paper section 3.3.
    """

    def __init__(self, method, **kwargs):
        super().__init__(lambda inputs: FUSIONS[method](inputs[:-1], inputs[-1]), **kwargs)
        self.method = method

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        base = keras.layers.Layer.get_config(self)
        return {
            'method': self.method,
            'name': base['name'],
            'trainable': base['trainable'],
            'dtype': base['dtype'],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        return cls(**config)


@_register
class NearestResize(keras.layers.Layer):
    """Nearest-neighbour resize to `size` (height, width) by the official rule source = floor(target * in / out)."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, inputs, training=None):
        return (
            _nearest_with_gradient(inputs, self.size) if training else _nearest(inputs, self.size)
        )

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        return {**super().get_config(), 'size': self.size}


@_register
class UpSampling2D(keras.layers.UpSampling2D):
    """keras.layers.UpSampling2D, whose training compiles under XLA on Keras 2 too."""

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs)
        return _nearest_with_gradient(
            inputs, [n * m for n, m in zip(inputs.shape[1:3], self.size, strict=True)]
        )


def _nearest(images, size):
    return tf.raw_ops.ResizeNearestNeighbor(
        images=images, size=size, align_corners=False, half_pixel_centers=False
    )


def _nearest_with_gradient(images, size):
    """Nearest resize; XLA has no kernel for TensorFlow's own gradient of it, so this one sums by two matrix products."""
    rows, columns = (
        tf.constant(_sources(n, m), images.dtype)
        for n, m in zip(images.shape[1:3], size, strict=True)
    )

    @tf.custom_gradient
    def resize(x):
        return _nearest(x, size), lambda g: tf.einsum('byxc,yh,xw->bhwc', g, rows, columns)

    return resize(images)


def _sources(count, target):
    """[target, count]: 1 where a target takes its value from, as the kernel rounds."""
    taken = np.floor(np.arange(target, dtype=np.float32) * np.float32(count / target))
    return np.eye(count)[np.minimum(taken, count - 1).astype(int)]


@contextlib.contextmanager
def random_step(*numbers):
    """Inside of it the masks of StochasticDepth depend on these integers (scalar tensors or ints) and the layer's name alone.

    Blocks nest: the inner one adds its numbers to those of the outer one. So a step that is run again, after a resume or
    to save memory, drops the same branches.
    """
    outer = getattr(_STEP, 'seed', None)
    seed = tf.zeros([2], tf.int32) if outer is None else outer
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(
            seed, tf.cast(tf.convert_to_tensor(number), tf.int32)
        )
    _STEP.seed = seed
    try:
        yield
    finally:
        _STEP.seed = outer


@contextlib.contextmanager
def computed_again():
    """Inside of it batch norm normalises by the batch and leaves its moving statistics as they are."""
    _STEP.again = True
    try:
        yield
    finally:
        _STEP.again = False


@_register
class StochasticDepth(keras.layers.Layer):
    """Drops whole examples of a branch while training and scales the kept ones by 1 / survival_prob.

    keras.layers.Dropout with a noise shape does the same, but on Keras 3 its seed is a variable in every weights file, and
    its masks depend on how often it ran. Here they depend on `random_step`; outside of one they are drawn freely.
    Source: Huang et al. 2016, arXiv:1603.09382; google/automl `drop_connect`.
    """

    def __init__(self, survival_prob, **kwargs):
        super().__init__(**kwargs)
        self.survival_prob = survival_prob

    def call(self, inputs, training=None):
        if not training:
            return inputs
        shape = tf.concat([tf.shape(inputs)[:1], tf.ones([inputs.shape.rank - 1], tf.int32)], 0)
        seed = getattr(_STEP, 'seed', None)
        if seed is None:
            draws = tf.random.uniform(shape)
        else:
            own = zlib.crc32(self.name.encode()) & 0x7FFFFFFF
            draws = tf.random.stateless_uniform(
                shape, tf.random.experimental.stateless_fold_in(seed, own)
            )
        return (
            inputs
            * tf.cast(draws < self.survival_prob, inputs.dtype)
            / tf.cast(self.survival_prob, inputs.dtype)
        )

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), 'survival_prob': self.survival_prob}


@_register
def hswish(x):
    """x * relu6(x + 3) / 6"""
    return x * tf.nn.relu6(x + 3.0) / 6.0


@_register
def mish(x):
    """x * tanh(softplus(x))"""
    return x * tf.tanh(tf.nn.softplus(x))


@_register
def srelu(x):
    """Smooth relu x - log(beta x + 1) / beta for x > 0, with the official beta of 20 ** 4."""
    beta, wide = 20.0**4, tf.cast(x, tf.float32)  # beta is beyond float16
    return tf.cast(
        tf.where(
            wide > 0.0, wide - tf.math.log(tf.where(wide > 0.0, beta * wide + 1.0, 1.0)) / beta, 0.0
        ),
        x.dtype,
    )
