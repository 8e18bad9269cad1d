"""SavedModels in the layout of TensorFlow Serving: photos in, boxes out."""

import json
import pathlib
import shutil
import uuid

import tensorflow as tf

from keras_efficientdet.export.graph import frozen, photos_in, prepare
from keras_efficientdet.export.labels import LABELS, labels
from keras_efficientdet.export.upright import decode_upright
from keras_efficientdet.network.detector import detections


def export_savedmodel(model, path, config=None, version=1):
    """Writes `<path>/<version>/`, the layout of TensorFlow Serving, with pre- and post-processing inside.

    Signatures (boxes [B, D, 4] are ymin xmin ymax xmax in pixels of the upright input, scores [B, D], classes [B, D] 0-based,
    count [B]; the weights are constants):
      serving_default: uint8 `images` [B, H, W, 3] of any batch and size -> boxes, scores, classes, count.
      serving_bytes: string `image_bytes` [B], JPEG, PNG, GIF or BMP of different sizes, the EXIF orientation of JPEG applied
        -> the same.
      raw: float32 `images` [B, height, width, 3] as `images.prepare` makes them -> the outputs of
        the network by name; with the anchor head boxes [B, A, 4] (codes) and classes [B, A, K] (logits).
      labels: nothing -> names [K], ids [K] (the data set's own), config (json).
    Names and ids stand in assets.extra/labels.json as well.

    Args:
      model: the result of `efficientdet`. config: default: the one that the model carries.
    Returns:
      the folder of the version.
    Raises:
      FileExistsError: this version exists.
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
        (working / LABELS).write_text(json.dumps(labels(config)))
        working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target


def signatures(network, config):
    """{name: tf.function} of `export_savedmodel`."""
    raw = tf.TensorSpec([None, *config.model.image_size, 3], tf.float32, 'images')
    return {
        'serving_default': photos_in(network, config),
        'serving_bytes': _bytes_in(network, config),
        'raw': tf.function(lambda images: network(images), input_signature=[raw]),
        'labels': _labels_out(config),
    }


def save_functions(folder, functions):
    """Writes tf.functions without variables as the signatures of a SavedModel."""
    module = tf.Module()
    module.functions = functions
    options = tf.saved_model.SaveOptions(
        experimental_custom_gradients=False
    )  # those of swish cannot be saved
    tf.saved_model.save(module, str(folder), functions, options)


def _bytes_in(network, config):
    def one(encoded):
        prepared, scale_back = prepare(decode_upright(encoded)[None], config)
        return prepared[0], scale_back[0]

    def run(image_bytes):
        kinds = (tf.TensorSpec([*config.model.image_size, 3]), tf.TensorSpec([]))
        prepared, scale_back = tf.map_fn(one, image_bytes, fn_output_signature=kinds)
        return detections(network(prepared), scale_back, config)

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
