"""Keras: a model in memory, a `.keras` file, or a folder that `fit` wrote."""

import hashlib
import json

import keras
import tensorflow as tf

from keras_efficientdet.export.labels import labels
from keras_efficientdet.inference.engines.processes import refuse_lost_threads
from keras_efficientdet.network.detector import detector, is_detector
from keras_efficientdet.network.trained import load_trained


def load(path):
    """(run, labels) of a `.keras` file or of a folder that `fit` wrote."""
    refuse_lost_threads()
    model = load_trained(path) if path.is_dir() else keras.models.load_model(path, compile=False)
    if not hasattr(model, 'detection_config'):
        raise ValueError(
            f'{path}: a Keras model without detection_config; expected one that `efficientdet` or '
            '`detector` built'
        )
    return function_of(model)


def function_of(model):
    """(run, labels) of the result of `efficientdet` or of `detector`."""
    refuse_lost_threads()
    whole = model if is_detector(model) else detector(model)
    # The free axes of the signature let one trace serve all batch and image sizes.
    function = tf.function(
        lambda images: whole(images, training=False),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )

    def run(batch):
        return {name: value.numpy() for name, value in function(tf.constant(batch)).items()}

    return run, labels(model.detection_config)


def weights_fingerprint(model: keras.Model) -> str:
    """Hexadecimal digits that depend on the weights and the configuration of a model in memory."""
    digest = hashlib.sha256(json.dumps(model.detection_config.to_dict()).encode())
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()
