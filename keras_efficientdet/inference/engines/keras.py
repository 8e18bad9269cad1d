"""Keras: a model in memory, a `.keras` file, or a folder that `fit` wrote."""

import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.export.labels import labels
from keras_efficientdet.network.detector import detector, is_detector
from keras_efficientdet.training import load_trained


def load(path):
    """(run, labels) of a file or folder."""
    model = load_trained(path) if path.is_dir() else keras.models.load_model(path, compile=False)
    if not hasattr(model, 'detection_config'):
        raise ValueError(
            f'{path}: a Keras model without detection_config; was it made by `efficientdet`?'
        )
    return of_model(model)


def of_model(model):
    """(run, labels) of the result of `efficientdet` or of `detector`. One trace serves all batches and sizes."""
    whole = model if is_detector(model) else detector(model)
    function = tf.function(
        lambda images: whole(images, training=False),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    return (lambda batch: {k: v.numpy() for k, v in function(tf.constant(batch)).items()}), labels(
        model.detection_config
    )


def fingerprint(model):
    """Hexadecimal digits that change with the weights and the configuration of a model in memory."""
    digest = hashlib.sha256(json.dumps(model.detection_config.to_dict()).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()
