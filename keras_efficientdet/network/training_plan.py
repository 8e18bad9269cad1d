"""The one record through which a model learns how it is to be trained."""

import dataclasses
import typing

import tensorflow as tf

from keras_efficientdet.config import Config


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What `compile_for_training` adds to Keras' own `compile`. The defaults add nothing.

    Attributes:
      config, steps_per_epoch: what all the rest follows from. They are saved with the model, and
        `load_model` makes the plan again from them.
      optimizer: that of the `compile` to which the plan belongs. After another `compile` the plan
        no longer applies.
      state: has `before_step()` and `after_step(before)`, which run inside the graph around each
        step, and `save(folder)` and `load(folder)` for its part of `.keras` files.
      forward: images [B, H, W, 3] -> outputs; replaces the forward pass of training steps.
      accumulation: data -> logs; replaces Keras' own training step.
      count_positives: targets of some images -> float32, their number of positives. With it, sample
        weights follow from the positives of the whole batch, whatever part of it the pipeline of
        this replica saw.
      weights: those of the head: (positives, output names) -> {output name: sample weight}.
      frozen: names of the layers that `compile_for_training` froze; its next call lets them train
        again first.
    """

    config: Config | None = None
    steps_per_epoch: int | None = None
    optimizer: typing.Any = None
    state: typing.Any = None
    forward: typing.Callable[[tf.Tensor], dict] | None = None
    accumulation: typing.Callable[[tuple], dict] | None = None
    count_positives: typing.Callable[[dict], tf.Tensor] | None = None
    weights: typing.Callable[..., dict[str, tf.Tensor]] | None = None
    frozen: frozenset[str] = frozenset()
