"""Validation pictures for TensorBoard; tests/test_training.py reads those of a real training
back."""

import numpy as np

from keras_efficientdet import load_config
from keras_efficientdet.imaging.drawing import color
from keras_efficientdet.training.validation_pictures import sketch


def test_sketch_puts_original_pixels_on_the_prepared_picture():
    config = load_config(
        'efficientdet-lite0',
        {'image_size': 100, 'label_map': {1: 'cat', 2: 'dog'}, 'num_classes': 2},
    ).model
    labels = {
        'boxes': np.array([[20.0, 40, 120, 160], [0, 0, 0, 0]]),
        'classes': np.array([0, -1]),
        'scale': np.float32(2),
    }
    found = {
        'boxes': np.array([[100.0, 20, 180, 60], [0, 0, 200, 200]]),
        'scores': np.array([0.9, 0.1]),
        'classes': np.array([1, 0]),
        'count': np.int32(2),
    }
    drawn = sketch(np.zeros((100, 100, 3), np.float32), labels, found, config)
    assert (
        np.all(drawn[15, [20, 80]] == 255)
        and np.all(drawn[70, 30] == color(1))
        and np.all(drawn[95, 95] == 127)
    )
    assert np.all(drawn[0, 50] == 127)  # too low a score
