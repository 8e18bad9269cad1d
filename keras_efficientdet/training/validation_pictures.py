"""Validation images in TensorBoard, with the detections of each evaluation."""

import pathlib

import keras
import tensorflow as tf

from keras_efficientdet.config import class_names
from keras_efficientdet.imaging.drawing import Mark, detection_marks, draw_marks
from keras_efficientdet.ops.images import denormalize

TRUTH = (255, 255, 255)
MIN_SCORE = 0.3


class ValidationPictures(keras.callbacks.Callback):
    """Writes the first validation images after each evaluation, for TensorBoard's page `Images`.

    Ground truth is white; detections with a score of at least 0.3 have the colour of their class.
    The run is named `pictures`.

    Args:
      evaluation: the CocoEvaluation that acts before this callback: its data, its epochs and its
        averaged weights are used.
      log_dir: TensorBoard's folder.
      count: number of images, at most a batch.
    """

    def __init__(self, evaluation, log_dir, count=4):
        super().__init__()
        self.evaluation = evaluation
        self.log_dir = pathlib.Path(log_dir)
        self.count = count

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.log_dir / 'pictures'))

    def on_epoch_end(self, epoch, logs=None):
        if not self.evaluation.is_due(epoch):
            return
        images, labels = next(iter(self.evaluation.data))
        with self.evaluation.averaged():
            found = self.evaluation.detect(images, labels['scale'])
        with self.writer.as_default(step=epoch):
            for i, image in enumerate(images.numpy()[: self.count]):
                drawn = sketch(image, _of(labels, i), _of(found, i), self.evaluation.config.model)
                tf.summary.image(f'validation/{i}', drawn[None])
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.close()


def sketch(image, labels, found, model_config):
    """Draws ground truth and detections on a prepared image.

    Args:
      image: float32 [H, W, 3], normalised. labels, found: boxes in pixels of the original image.
    Returns:
      uint8 [H, W, 3].
    """
    pixels = denormalize(image, model_config.mean_rgb, model_config.stddev_rgb)
    truth = labels['boxes'][labels['classes'] >= 0] / labels['scale']
    detections = detection_marks(
        found['boxes'] / labels['scale'],
        found['scores'],
        found['classes'],
        class_names(model_config),
        MIN_SCORE,
    )
    return draw_marks(pixels, [Mark(tuple(box), TRUTH) for box in truth.tolist()] + detections)


def _of(tensors, i):
    """The i-th of each tensor, as an array."""
    return {name: value.numpy()[i] for name, value in tensors.items()}
