"""TFLite files of `export_tflite`: one picture of the network's size at a time, so pictures are fitted here."""

import numpy as np

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.export.tflite import tflite_function
from keras_efficientdet.ops import images


def load(path):
    """(run, labels) of a .tflite file."""
    labels, one = read_labels(path), tflite_function(path)
    size, mean = labels['image_size'], labels['mean_rgb']

    def detect(picture):
        fitted, scale_back = images.letterbox(picture, size, mean)
        found = {name: values[0] for name, values in one(fitted[None]).items()}
        inside = np.clip(
            found['boxes'], 0, 1
        )  # the operator of nms='op' leaves boxes over the edge
        return {
            'boxes': inside * np.float32(np.tile(size, 2) * scale_back),
            'scores': found['scores'],
            'classes': found['classes'].astype(np.int32),
            'count': found['count'].astype(np.int32),
        }

    def run(batch):
        rows = [detect(picture) for picture in batch]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return run, labels
