"""`Detector`: pictures in, detections out, whatever the model was stored as."""

import collections
import os

import keras
import numpy as np

from keras_efficientdet.imaging.sources import read_image, single_images
from keras_efficientdet.inference import engines
from keras_efficientdet.inference.detections import Detections
from keras_efficientdet.inference.engines.keras import of_model
from keras_efficientdet.threads import in_order


def fingerprint(model):
    """Hexadecimal digits that tell models apart; takes a Detector, or what it takes."""
    if isinstance(model, Detector):
        return model.fingerprint()
    return (
        engines.keras.fingerprint(model)
        if isinstance(model, keras.Model)
        else engines.fingerprint(model)
    )


class Detector:
    """Finds objects in pictures.

    Args:
      model: the result of `efficientdet` or of `detector`, a `.keras` file of one, a folder that `fit` wrote, the folder of an
        exported SavedModel (or of its version), or an exported .tflite, .onnx or .xml file. The same
        detections for each: docs/EXPORT.md.
      batch_size: pictures of the same size that go through the network together.
    Raises:
      FileNotFoundError, ValueError: nothing there, or not a model of this project. ImportError: its engine is not installed.
    """

    def __init__(self, model, batch_size=8):
        self.batch_size = batch_size
        self._model = (
            model if isinstance(model, keras.Model) else engines.fingerprint(model)
        )  # its files may change later
        self._function, self._labels = (
            of_model(model) if isinstance(model, keras.Model) else engines.load(model)
        )

    def fingerprint(self):
        """`fingerprint` of the model: of its files as they were when it was loaded, or of its weights as they are now."""
        return self._model if isinstance(self._model, str) else fingerprint(self._model)

    def __call__(self, pictures):
        """[Detections] of pictures, in their order.

        Args:
          pictures: a path, glob pattern, folder, video file or PIL picture, a uint8 array [H, W, 3] or [B, H, W, 3], or any
            iterable of paths, PIL pictures and arrays, of any sizes.
        """
        return list(self.stream(pictures))

    def stream(self, pictures):
        """Yields the Detections of each picture in order; takes pictures only as it needs them, at most 4 batches ahead.

        Args:
          pictures: as of a call, or the number of a camera, each frame of which is looked at for itself.
        """
        return (found for _, found in self.with_pictures(pictures))

    def with_pictures(self, pictures):
        """`stream`, with each picture beside what was found in it: yields (uint8 [H, W, 3], Detections)."""
        size = 1 if isinstance(pictures, int) else self.batch_size
        read = in_order(read_image, single_images(pictures), os.cpu_count(), ahead=size - 1)
        groups, done, due = collections.defaultdict(list), {}, 0
        for i, array in enumerate(read):
            group = groups[array.shape]
            group.append((i, array))
            if len(group) == size:
                done.update(self._batch(groups.pop(array.shape)))
            elif i - due >= 3 * size:  # the first one of a rare size waits no longer
                done.update(
                    self._batch(groups.pop(next(k for k, v in groups.items() if v[0][0] == due)))
                )
            while due in done:
                yield done.pop(due)
                due += 1
        for group in groups.values():
            done.update(self._batch(group))
        yield from (done[i] for i in sorted(done))

    def _batch(self, group):
        """{number: (picture, Detections)} of pictures [(number, uint8 [H, W, 3])] of one size."""
        outputs, names, ids = (
            self._function(np.stack([a for _, a in group])),
            *(tuple(self._labels[k]) for k in ('names', 'ids')),
        )
        return {
            number: (
                array,
                Detections(
                    *(outputs[k][i, :count] for k in ('boxes', 'scores', 'classes')), names, ids
                ),
            )
            for i, ((number, array), count) in enumerate(zip(group, outputs['count'], strict=True))
        }
