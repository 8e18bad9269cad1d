"""Validation pictures in TensorBoard, with what the detector finds in them as training goes on."""

import pathlib

import keras
import tensorflow as tf

from keras_efficientdet.config import class_names
from keras_efficientdet.imaging.drawing import Mark, detection_marks, draw_marks
from keras_efficientdet.ops.images import denormalize

TRUTH = (255, 255, 255)
MIN_SCORE = 0.3


class ValidationPictures(keras.callbacks.Callback):
    """Writes the first pictures of the validation data after each evaluation, for TensorBoard's page `Images`.

    Ground truth is white, detections of score .3 and above have the colour of their class; the run is named `pictures`.

    Args:
      evaluation: the CocoEvaluation that stands before it: its data, its epochs and its averaged weights are used.
      log_dir: TensorBoard's folder.
      count: pictures, at most a batch.
    """

    def __init__(self, evaluation, log_dir, count=4):
        super().__init__()
        self.evaluation, self.log_dir, self.count = evaluation, pathlib.Path(log_dir), count

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.log_dir / 'pictures'))

    def on_epoch_end(self, epoch, logs=None):
        if not self.evaluation.is_due(epoch):
            return
        images, labels = next(iter(self.evaluation.data))
        with self.evaluation.averaged():
            found = self.evaluation.detect(images, labels['scale'])
        labels, found = ({k: v.numpy() for k, v in part.items()} for part in (labels, found))
        with self.writer.as_default(step=epoch):
            for i, image in enumerate(images.numpy()[: self.count]):
                one = sketch(
                    image,
                    {k: v[i] for k, v in labels.items()},
                    {k: v[i] for k, v in found.items()},
                    self.evaluation.config.model,
                )
                tf.summary.image(f'validation/{i}', one[None])
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.close()


def sketch(image, labels, found, model_config):
    """uint8 [H, W, 3]: a prepared image [H, W, 3] with its boxes and detections, both in pixels of the original picture."""
    pixels = denormalize(image, model_config.mean_rgb, model_config.stddev_rgb)
    truth = labels['boxes'][labels['classes'] >= 0] / labels['scale']
    return draw_marks(
        pixels,
        [Mark(tuple(box), TRUTH) for box in truth.tolist()]
        + detection_marks(
            found['boxes'] / labels['scale'],
            found['scores'],
            found['classes'],
            class_names(model_config),
            MIN_SCORE,
        ),
    )
