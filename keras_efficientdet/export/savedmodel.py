"""SavedModels in the layout of TensorFlow Serving: photos in, boxes out."""
import contextlib
import io
import json
import os
import pathlib
import shutil

import keras
import tensorflow as tf

from keras_efficientdet.export.labels import LABELS, labels
from keras_efficientdet.models import detector


def export_savedmodel(model, path, config=None, version=1):
    """Writes `<path>/<version>/`, the layout of TensorFlow Serving, with pre- and post-processing inside.

    The signature `serving_default` takes uint8 `images` [B, H, W, 3] of any batch and size and gives boxes [B, D, 4] (ymin
    xmin ymax xmax in pixels of the input), scores [B, D], classes [B, D] (0-based), count [B]. Names and the data set's own
    ids of the classes stand in assets.extra/labels.json.

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
    working = target.with_name(f'{target.name}.writing-{os.getpid()}')
    whole = detector(model, config)
    archive = keras.export.ExportArchive()
    archive.track(whole)
    archive.add_endpoint('serving_default', lambda images: whole(images, training=False),
                         [tf.TensorSpec([None, None, None, 3], tf.uint8, 'images')])
    try:
        with contextlib.redirect_stdout(io.StringIO()):      # Keras prints the handle of every variable
            archive.write_out(str(working))
        (working / LABELS).parent.mkdir(exist_ok=True)
        (working / LABELS).write_text(json.dumps(labels(config)))
        working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target
