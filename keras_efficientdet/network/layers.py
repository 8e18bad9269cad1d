"""Layers that Keras does not have, registered: models load without `custom_objects`."""

import contextlib
import threading
import zlib

import keras
import tensorflow as tf

from keras_efficientdet.network.replicas import replica_count, sum_over_replicas

_register = keras.saving.register_keras_serializable('keras_efficientdet')
FUSE_EPSILON = 1e-4
# What `random_step` and `computed_again` tell the layers. It cannot be an argument: Keras calls the
# layers of a functional model, and passes on nothing but their inputs and `training`. It is kept
# per thread because replicas are traced in threads of their own.
_STEP = threading.local()


@_register
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation by TensorFlow's fused kernel, or synchronised over several replicas.

    Keras 3 updates the moving variance with the biased batch variance (over N values), the fused
    kernel, with which the official checkpoints were trained, with the unbiased one (N - 1). On a
    1x1 level 7 that makes a difference of 2 % per step. With several replicas N counts all of
    them, so the statistics are those of one device with the whole batch. A frozen layer runs in
    inference mode.
    """

    def __init__(self, **kwargs):
        super().__init__(**{'synchronized': True, **kwargs})

    @property
    def momentum(self):
        """1 inside `computed_again`, where the statistics have been updated already."""
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
    """`_fused` for the batch of all replicas, which they exchange sums for twice.

    One exchange would be enough for E[x^2] - E[x]^2, but that difference cancels almost all digits
    of a feature that hardly varies.
    """
    x = tf.cast(inputs, tf.float32)
    places = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
    sums = tf.concat([tf.reduce_sum(x, [0, 1, 2]), places[None]], 0)  # [C + 1], one exchange
    total, count = tf.split(sum_over_replicas(sums), [x.shape[-1], 1])
    mean = total / count
    deviations = tf.math.squared_difference(x, tf.stop_gradient(mean))
    squares = sum_over_replicas(tf.reduce_sum(deviations, [0, 1, 2]))
    # No gradient needs to flow through the mean here (`stop_gradient` above): its term vanishes
    # because the deviations sum to zero.
    variance = squares / count
    outputs = (x - mean) * (tf.math.rsqrt(variance + epsilon) * gamma) + beta
    return tf.cast(outputs, inputs.dtype), mean, variance * count / tf.maximum(count - 1.0, 1.0)


@_register
class EdgeWeights(keras.layers.Layer):
    """The weights of the edges into a BiFPN node: a variable `WSM` [edges] or [edges, channels].

    It is called on a tensor whose value it ignores, because a layer without an input cannot be part
    of a functional model. The official code keeps one variable per edge (WSM, WSM_1, ...);
    `weights.official` packs and unpacks them.
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
    weights = tf.unstack(tf.nn.softmax(weights, axis=0))
    return _left_to_right([x * w for x, w in zip(features, weights, strict=True)])


def _left_to_right(terms):
    """The sum in the official order, on which the rounding of float32 depends."""
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
    """Weighted sum of the features that enter a node: [feature, ..., edge weights] -> feature.

    `method`: 'fastattn' relu(w) / (sum + 1e-4), 'attn' softmax(w), or 'channel_' before either for
    weights per channel. Keras' safe mode refuses to load a Lambda around a Python function, so this
    subclass saves the name of the method instead.
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


@contextlib.contextmanager
def random_step(*numbers):
    """A context in which masks of StochasticDepth depend on the numbers and layer names only.

    So a step that is repeated, after a resume or to save memory, drops the same branches. Contexts
    nest: the inner one adds its numbers to those of the outer one.

    Args:
      numbers: ints or scalar integer tensors.
    """
    outer = getattr(_STEP, 'seed', None)
    seed = tf.zeros([2], tf.int32) if outer is None else outer
    for number in numbers:
        number = tf.cast(tf.convert_to_tensor(number), tf.int32)
        seed = tf.random.experimental.stateless_fold_in(seed, number)
    _STEP.seed = seed
    try:
        yield
    finally:
        _STEP.seed = outer


@contextlib.contextmanager
def computed_again():
    """A context in which batch norm does not update its moving statistics.

    For features that a step computes a second time, as recomputation in the backward pass does.
    """
    outer = getattr(_STEP, 'again', False)
    _STEP.again = True
    try:
        yield
    finally:
        _STEP.again = outer


@_register
class StochasticDepth(keras.layers.Layer):
    """Drops whole examples of a branch in training, and scales the others by 1 / survival_prob.

    keras.layers.Dropout with a noise shape does the same, but on Keras 3 its seed is a variable in
    every weights file, and its masks depend on how often it has run. Here they depend on
    `random_step`; outside of that context they are drawn from TensorFlow's global generator.
    Source: Huang et al. 2016, arXiv:1603.09382; google/automl `drop_connect`.
    """

    def __init__(self, survival_prob, **kwargs):
        super().__init__(**kwargs)
        self.survival_prob = survival_prob

    def call(self, inputs, training=None):
        if not training:
            return inputs
        shape = self._mask_shape(inputs)
        seed = getattr(_STEP, 'seed', None)
        if seed is None:
            draws = tf.random.uniform(shape)
        else:
            own = zlib.crc32(self.name.encode()) & 0x7FFFFFFF  # as a positive int32
            own_seed = tf.random.experimental.stateless_fold_in(seed, own)
            draws = tf.random.stateless_uniform(shape, own_seed)
        kept = tf.cast(draws < self.survival_prob, inputs.dtype)
        return inputs * kept / tf.cast(self.survival_prob, inputs.dtype)

    def _mask_shape(self, inputs):
        return tf.concat([tf.shape(inputs)[:1], tf.ones([inputs.shape.rank - 1], tf.int32)], 0)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), 'survival_prob': self.survival_prob}


@_register
class Dropout(StochasticDepth):
    """Drops single numbers, as keras.layers.Dropout(1 - survival_prob) does, by `random_step`."""

    def _mask_shape(self, inputs):
        return tf.shape(inputs)
