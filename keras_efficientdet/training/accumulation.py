"""Gradient accumulation: a batch passes the network in parts, and the optimizer steps once."""

import tensorflow as tf

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.keras_compat import (
    count_loss,
    scaled_loss,
    tf_variable,
    unscaled_gradients,
)
from keras_efficientdet.network.layers import random_step

_ZERO = tf.UnconnectedGradients.ZERO


class Accumulation:
    """Replaces Keras' training step: sums the gradients of parts of a batch, and applies them once.

    The losses are sums over images, and `sample_weight` counts the positives of the whole batch, so
    gradient and logs are those of the whole batch. Batch norm alone sees one part at a time.
    Schedules and averages count optimizer steps.

    Args:
      model: a compiled model.
      losses, weights: {output: loss}, {output: weight} that it was compiled with.
      train: TrainConfig; `accumulation_steps` is the number of parts.
    Raises:
      ConfigError: the batch of a replica cannot be cut into equal parts.
    """

    def __init__(self, model, losses, weights, train):
        self.model = model
        self.losses = losses
        self.weights = weights
        self.steps = train.accumulation_steps
        self._variables = [tf_variable(v) for v in model.trainable_variables]
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self.steps < 1 or train.batch_size % (self.steps * self.replicas):
            on_each = f' on each of {self.replicas} replicas' if self.replicas > 1 else ''
            raise ConfigError(
                f'batch_size {train.batch_size} cannot be cut into accumulation_steps {self.steps} '
                f'equal parts{on_each}'
            )

    def __call__(self, data):
        """One step.

        Args:
          data: (images [B, H, W, 3], {output: target [B, ...]}, {output: weight [B]}).
        Returns:
          The logs of a training step of Keras.
        """
        model, optimizer = self.model, self.model.optimizer
        gradients, outputs = self._gradients(tf.nest.map_structure(self._cut, data))
        gradients = unscaled_gradients(optimizer, gradients)
        images, targets, weights = data
        loss = model.compute_loss(x=images, y=targets, y_pred=outputs, sample_weight=weights)
        count_loss(model, loss * self.replicas, images)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return model.compute_metrics(images, targets, outputs, sample_weight=weights)

    def _cut(self, tensor):
        """[B, ...] -> [steps, B / steps, ...]"""
        return tf.reshape(tensor, [self.steps, -1, *tensor.shape[1:]])

    def _gradients(self, parts):
        """(scaled gradients of the whole loss, outputs of the whole batch)"""

        def next_part(i, gradients, outputs):
            part = tf.nest.map_structure(lambda tensor: tensor[i], parts)
            found, more = self._part(i, *part)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            outputs = {name: array.write(i, found[name]) for name, array in outputs.items()}
            return i + 1, gradients, outputs

        outputs = {name: tf.TensorArray(tf.float32, self.steps) for name in self.losses}
        carried = 0, self._penalty_gradients(), outputs
        if self.replicas == 1:
            carried = tf.while_loop(
                lambda i, *_: i < self.steps, next_part, carried, parallel_iterations=1
            )
        else:
            # Synchronised batch norm exchanges sums, which replicas cannot do in a graph's loop.
            for _ in range(self.steps):
                with tf.control_dependencies(carried[1]):  # one part after the other, for memory
                    carried = next_part(*carried)
        _, gradients, outputs = carried
        return gradients, {name: array.concat() for name, array in outputs.items()}

    def _penalty_gradients(self):
        """Gradients of the regularisation, which belongs to the batch and not to its parts."""
        with tf.GradientTape() as tape:
            penalty = sum(self.model.losses, tf.constant(0.0)) / self.replicas
            penalty = scaled_loss(self.model.optimizer, penalty)
        return tape.gradient(penalty, self._variables, unconnected_gradients=_ZERO)

    def _part(self, i, images, targets, weights):
        with random_step(i), tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            losses = [
                weight
                * self.losses[name](targets[name], outputs[name], sample_weight=weights[name])
                for name, weight in self.weights.items()
            ]
            loss = scaled_loss(self.model.optimizer, tf.add_n(losses))
        return outputs, tape.gradient(loss, self._variables, unconnected_gradients=_ZERO)
