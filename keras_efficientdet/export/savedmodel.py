"""SavedModels in the layout of TensorFlow Serving: images in, detections out."""

import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from keras_efficientdet.config import Config
from keras_efficientdet.export.graph import frozen, prepare, with_preprocessing
from keras_efficientdet.export.labels import LABELS, labels
from keras_efficientdet.export.upright import decode_upright
from keras_efficientdet.network.detector import detections
from keras_efficientdet.ops import images


def export_savedmodel(
    model: keras.Model,
    path: str | os.PathLike,
    config: Config | None = None,
    version: int = 1,
) -> pathlib.Path:
    """Writes `<path>/<version>/`, the layout of TensorFlow Serving, with pre- and post-processing.

    Boxes [B, D, 4] are ymin xmin ymax xmax in pixels of the upright input, clipped to it, scores
    are [B, D], classes [B, D] 0-based and count [B]. The weights are constants. Signatures:
      serving_default: uint8 `images` [B, H, W, 3] of any batch and image size -> boxes, scores,
        classes, count.
      serving_bytes: string `image_bytes` [B], JPEG, PNG, GIF or BMP files of different sizes -> the
        same. JPEGs are turned by their EXIF orientation.
      raw: float32 `images` [B, height, width, 3], as `images.prepare` makes them -> the outputs of
        the network by name; with the anchor head boxes [B, A, 4] (codes), classes [B, A, K]
        (logits).
      labels: nothing -> names [K], ids [K] (the data set's category ids), config (json).
    assets.extra/labels.json holds names and ids as well (`read_labels`).

    Args:
      model: the result of `efficientdet`. config: default: the model's own.
    Returns:
      the folder of the version.
    Raises:
      FileExistsError: this version exists. ValueError: the result of `detector`.
    """
    config = config or model.detection_config
    target = pathlib.Path(path) / str(version)
    if target.exists():
        raise FileExistsError(f'{target} exists; give another version or remove it')
    target.parent.mkdir(parents=True, exist_ok=True)
    working = target.with_name(f'{target.name}.writing-{uuid.uuid4().hex}')
    try:
        save_functions(working, signatures(frozen(model), config))
        (working / LABELS).parent.mkdir(exist_ok=True)
        (working / LABELS).write_text(json.dumps(labels(config)), encoding='utf-8')
        working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target


def signatures(network: Callable, config: Config) -> dict[str, Callable]:
    """{name: tf.function} of `export_savedmodel`."""
    raw = tf.TensorSpec([None, *config.model.image_size, 3], tf.float32, 'images')
    return {
        'serving_default': with_preprocessing(network, config),
        'serving_bytes': _bytes_in(network, config),
        'raw': tf.function(lambda images: network(images), input_signature=[raw]),
        'labels': _labels_out(config),
    }


def save_functions(folder: str | os.PathLike, functions: Mapping[str, Callable]) -> None:
    """Writes tf.functions without variables as the signatures of a SavedModel."""
    module = tf.Module()
    module.functions = functions
    # The custom gradient of swish cannot be saved, and an export is not trained.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), functions, options)


def _bytes_in(network, config):
    def one(encoded):
        image = decode_upright(encoded)[None]
        prepared, scale_back = prepare(image, config)
        return prepared[0], scale_back[0], images.sizes(image)[0]

    def run(image_bytes):
        # Images have different sizes until they are prepared, so one after the other.
        kinds = (
            tf.TensorSpec([*config.model.image_size, 3]),
            tf.TensorSpec([]),
            tf.TensorSpec([2], tf.int32),
        )
        prepared, scale_back, sizes = tf.map_fn(one, image_bytes, fn_output_signature=kinds)
        return detections(network(prepared), scale_back, config, sizes)

    return tf.function(run, input_signature=[tf.TensorSpec([None], tf.string, 'image_bytes')])


def _labels_out(config):
    content = labels(config)
    return tf.function(
        lambda: {
            'names': tf.constant(content['names']),
            'ids': tf.constant(content['ids'], tf.int64),
            'config': tf.constant(json.dumps(config.to_dict())),
        },
        input_signature=[],
    )
