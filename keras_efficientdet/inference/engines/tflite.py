"""TFLite files of `export_tflite`. They take one image of the network's size, so images are
resized and padded here, one after the other."""

import numpy as np

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.export.tflite import tflite_function
from keras_efficientdet.ops import images


def load(path):
    """(run, labels) of a .tflite file."""
    labels, interpret = read_labels(path), tflite_function(path)
    size, mean = labels['image_size'], labels['mean_rgb']
    resize = labels.get('resize', 'pad')  # earlier versions had no other

    def detect(image):
        fitted, scale_back = images.letterbox(image, size, mean, resize)
        found = {name: values[0] for name, values in interpret(fitted[None]).items()}
        to_pixels = np.float32(np.tile(size, 2) * scale_back)
        # Boxes may reach into the padding, and those of the operator of nms='op' beyond the input.
        limit = np.float32(np.tile(image.shape[:2], 2))
        masks = {}
        if 'mask' in found:
            masks['mask'] = images.unfitted(found['mask'], image.shape[:2], scale_back)
        return {
            **masks,
            'boxes': np.clip(found['boxes'] * to_pixels, 0, limit),
            'scores': found['scores'],
            'classes': found['classes'].astype(np.int32),
            'count': found['count'].astype(np.int32),
        }

    def run(batch):
        rows = [detect(image) for image in batch]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return run, labels
