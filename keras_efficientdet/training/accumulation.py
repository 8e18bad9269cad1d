"""Gradient accumulation: a batch goes through the network in parts, and the optimizer steps once."""

import tensorflow as tf

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.layers import random_step

_ZERO = tf.UnconnectedGradients.ZERO


class Accumulation:
    """Takes the place of Keras' train step: sums the gradients of `accumulation_steps` parts of a batch, applies them once.

    The losses are sums over images, and `sample_weight` knows the positives of the whole batch, so the gradient is that of
    the whole batch; the logs are too. Batch norm alone sees a part at a time. Schedules and averages count optimizer steps.

    Args:
      model: a compiled model; losses, weights: {output: loss}, {output: weight} that it was compiled with.
      train: TrainConfig.
    Raises:
      ConfigError: the batch of a replica cannot be cut into equal parts.
    """

    def __init__(self, model, losses, weights, train):
        self.model, self.losses, self.weights, self.steps = (
            model,
            losses,
            weights,
            train.accumulation_steps,
        )
        self._variables = [
            v if isinstance(v, tf.Variable) else v.value for v in model.trainable_variables
        ]
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self.steps < 1 or train.batch_size % (self.steps * self.replicas):
            raise ConfigError(
                f'batch_size {train.batch_size} cannot be cut into accumulation_steps {self.steps} equal parts'
                + (f' on each of {self.replicas} replicas' if self.replicas > 1 else '')
            )

    def __call__(self, data):
        """One step. data: (images [B, H, W, 3], {output: target [B, ...]}, {output: weight [B]}). Returns Keras' logs."""
        model, optimizer = self.model, self.model.optimizer
        gradients, outputs = self._gradients(tf.nest.map_structure(self._cut, data))
        if hasattr(
            optimizer, 'get_unscaled_gradients'
        ):  # Keras 2; Keras 3 unscales while it applies
            gradients = optimizer.get_unscaled_gradients(gradients)
        images, targets, weights = data
        loss = model.compute_loss(x=images, y=targets, y_pred=outputs, sample_weight=weights)
        if hasattr(model, '_loss_tracker'):  # on Keras 3 it is the train step that counts it
            model._loss_tracker.update_state(
                loss * self.replicas, sample_weight=tf.shape(images)[0]
            )
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return model.compute_metrics(images, targets, outputs, sample_weight=weights)

    def _cut(self, tensor):
        """[B, ...] -> [steps, B / steps, ...]"""
        return tf.reshape(tensor, [self.steps, -1, *tensor.shape[1:]])

    def _gradients(self, parts):
        """(scaled gradients of the whole loss, outputs of the whole batch)"""

        def next_part(i, gradients, outputs):
            found, more = self._part(i, *tf.nest.map_structure(lambda t: t[i], parts))
            written = {name: outputs[name].write(i, found[name]) for name in outputs}
            return i + 1, [a + b for a, b in zip(gradients, more, strict=True)], written

        carried = (
            0,
            self._penalty_gradients(),
            {name: tf.TensorArray(tf.float32, self.steps) for name in self.losses},
        )
        if self.replicas == 1:
            carried = tf.while_loop(
                lambda i, *_: i < self.steps, next_part, carried, parallel_iterations=1
            )
        else:  # replicas cannot meet inside a loop, as synchronised batch norm wants
            for _ in range(self.steps):
                with tf.control_dependencies(carried[1]):
                    carried = next_part(*carried)
        return carried[1], {name: array.concat() for name, array in carried[2].items()}

    def _penalty_gradients(self):
        """Gradients of the regularisation, which belongs to the batch and not to its parts."""
        with tf.GradientTape() as tape:
            penalty = _scaled(
                self.model.optimizer, sum(self.model.losses, tf.constant(0.0)) / self.replicas
            )
        return tape.gradient(penalty, self._variables, unconnected_gradients=_ZERO)

    def _part(self, i, images, targets, weights):
        with random_step(i), tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            losses = [
                weight
                * self.losses[name](targets[name], outputs[name], sample_weight=weights[name])
                for name, weight in self.weights.items()
            ]
            loss = _scaled(self.model.optimizer, tf.add_n(losses))
        return outputs, tape.gradient(loss, self._variables, unconnected_gradients=_ZERO)


def _scaled(optimizer, loss):
    """The loss as float16's loss scaling wants it; as it is without."""
    scale = getattr(optimizer, 'get_scaled_loss', None) or getattr(optimizer, 'scale_loss', None)
    return scale(loss) if scale else loss
