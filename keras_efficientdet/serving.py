"""`Detector`: photos in, detections out, whatever the model was stored as."""
import collections
import dataclasses
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from keras_efficientdet.export.labels import LABELS, labels
from keras_efficientdet.models import detector
from keras_efficientdet.record_writer import rgb
from keras_efficientdet.training import load_trained


@dataclasses.dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first, without padding."""
    boxes: np.ndarray      # float32 [D, 4] ymin xmin ymax xmax, pixels
    scores: np.ndarray     # float32 [D]
    classes: np.ndarray    # int32 [D], 0-based
    names: tuple           # of all classes, in class order
    ids: tuple             # the data set's own id of each class

    def __len__(self):
        return len(self.scores)

    def above(self, score):
        """Those with at least this score."""
        kept = self.scores >= score
        return dataclasses.replace(self, boxes=self.boxes[kept], scores=self.scores[kept], classes=self.classes[kept])


class Detector:
    """Finds objects in pictures.

    Args:
      model: the result of `efficientdet`, a `.keras` file of one, a folder that `fit` wrote, or the folder of an
        exported SavedModel (or of its version).
      batch_size: pictures of the same size that go through the network together.
    Raises:
      FileNotFoundError, ValueError: nothing there, or not a model of this project.
    """

    def __init__(self, model, batch_size=8):
        self.batch_size = batch_size
        if isinstance(model, keras.Model):
            self._function, self._labels = _keras_function(model), labels(model.detection_config)
        else:
            self._function, self._labels = _load(pathlib.Path(model))

    def __call__(self, pictures):
        """[Detections] of pictures: a list of paths or uint8 arrays [H, W, 3] (or one of these, then one in the list)."""
        if isinstance(pictures, str | pathlib.Path) or (isinstance(pictures, np.ndarray) and pictures.ndim == 3):
            pictures = [pictures]
        arrays = [read_picture(p) for p in pictures]
        groups = collections.defaultdict(list)
        for i, array in enumerate(arrays):
            groups[array.shape].append(i)
        found = {}
        for group in groups.values():
            for start in range(0, len(group), self.batch_size):
                rows = group[start:start + self.batch_size]
                found.update(zip(rows, self._batch(np.stack([arrays[i] for i in rows])), strict=True))
        return [found[i] for i in range(len(arrays))]

    def _batch(self, batch):
        outputs = {k: np.asarray(v) for k, v in self._function(tf.constant(batch)).items()}
        for i, count in enumerate(outputs['count']):
            yield Detections(outputs['boxes'][i, :count], outputs['scores'][i, :count], outputs['classes'][i, :count],
                             tuple(self._labels['names']), tuple(self._labels['ids']))


def read_picture(picture):
    """uint8 RGB [H, W, 3] of a path (any format that Pillow reads, turned upright by its EXIF) or of such an array.

    Raises ValueError for an array of another kind, OSError for an unreadable file; both name it.
    """
    if isinstance(picture, str | pathlib.Path):
        with Image.open(picture) as opened:
            return np.asarray(rgb(ImageOps.exif_transpose(opened)))
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f'a picture must be uint8 [height, width, 3], found {array.dtype} {list(array.shape)}')
    return array


def _keras_function(model):
    whole = detector(model)
    return tf.function(lambda images: whole(images, training=False),
                       input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])


def _load(path):
    if path.suffix == '.keras':
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such model file')
        model = keras.models.load_model(path, compile=False)
        return _keras_function(model), labels(model.detection_config)
    if (path / 'config.yaml').is_file():
        model = load_trained(path)
        return _keras_function(model), labels(model.detection_config)
    versions = sorted((p for p in path.glob('[0-9]*') if p.is_dir()), key=lambda p: int(p.name)) if path.is_dir() else []
    folder = path if (path / 'saved_model.pb').is_file() or not versions else versions[-1]
    if not (folder / 'saved_model.pb').is_file():
        raise FileNotFoundError(f'{path}: neither a .keras file, nor a folder of `fit`, nor a SavedModel')
    if not (folder / LABELS).is_file():
        raise ValueError(f'{folder}: a SavedModel without {LABELS}; was it exported by this project?')
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures['serving_default']
    return (lambda images, _keep=loaded: signature(images=images)), json.loads((folder / LABELS).read_text())
