"""`Detector`: images in, detections out, whatever the model was stored as."""

import os
import typing
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from keras_efficientdet.imaging.sources import ImageSource, read_image, single_images
from keras_efficientdet.inference import engines
from keras_efficientdet.inference.detections import Detections
from keras_efficientdet.inference.engines.keras import function_of, weights_fingerprint
from keras_efficientdet.threads import in_order, until_failure

StoredModel = str | os.PathLike


class Detector:
    """Finds objects in images. The detections are the same for each form of a model.

    Threads may share a Detector. It can be given to a process: pickled, it is the path of its model
    (or the model), which is loaded there.

    Args:
      model: the result of `efficientdet` or of `detector`, a `.keras` file of one, a folder that
        `fit` wrote, the folder of an exported SavedModel (or of one of its versions), or an
        exported .tflite, .onnx or .xml file (docs/EXPORT.md).
      batch_size: images of equal size that go through the network together.
    Raises:
      FileNotFoundError: no model at this path. ValueError: not a model of this project.
      ImportError: the engine of this file format is not installed; the message names the extra.
      RuntimeError: here or in a call, in a process that was forked after TensorFlow had run, for a
        model that TensorFlow runs.
    """

    def __init__(self, model: keras.Model | StoredModel, batch_size: int = 8):
        self.batch_size = batch_size
        self._lost: list[typing.Callable] = []
        # Noted before loading, so that a file that is replaced meanwhile is noticed as well.
        self._origin = model if isinstance(model, keras.Model) else engines.ModelFiles(model)
        self._load()

    def _load(self):
        if isinstance(self._origin, keras.Model):
            self._run, self._labels = function_of(self._origin)
        else:
            self._run, self._labels = engines.load(self._origin.path)
        self._process = os.getpid()

    def _load_again(self):
        """In a forked process, where threads and locks of the engine do not exist."""
        if not isinstance(self._origin, keras.Model):
            self._origin.refuse_changes()
        # Kept, because an engine that is deleted waits for its threads.
        self._lost.append(self._run)
        self._load()

    def __reduce__(self):
        in_memory = isinstance(self._origin, keras.Model)
        return Detector, (self._origin if in_memory else self._origin.path, self.batch_size)

    def fingerprint(self) -> str:
        """`model_fingerprint` of the files that were loaded, or of the weights as they are now.

        Raises:
          ValueError: the files were replaced after they were loaded.
        """
        if isinstance(self._origin, keras.Model):
            return weights_fingerprint(self._origin)
        return self._origin.fingerprint()

    def __call__(self, pictures: ImageSource) -> list[Detections]:
        """Detections of images, in their order.

        Args:
          pictures: a path, glob pattern, folder, video file or PIL image, a uint8 array [H, W, 3]
            or [B, H, W, 3], or any iterable of paths, PIL images and arrays, of any sizes.
        Raises:
          FileNotFoundError, OSError: a file that does not exist or cannot be read.
          ValueError: an array of another dtype or shape.
        """
        return list(self.stream(pictures))

    def stream(self, pictures: ImageSource) -> Iterator[Detections]:
        """Yields the Detections of each image in order, reading at most 4 batches ahead.

        Args:
          pictures: as in a call, or the number of a camera, whose frames are not batched.
        """
        return (found for _, found in self.with_pictures(pictures))

    def with_pictures(self, pictures: ImageSource) -> Iterator[tuple[np.ndarray, Detections]]:
        """Like `stream`, but yields pairs of (image uint8 [H, W, 3], Detections)."""
        # A frame of a camera must not wait for the next ones.
        batch_size = 1 if isinstance(pictures, int) else self.batch_size
        images = in_order(
            read_image, single_images(pictures), os.cpu_count() or 1, ahead=batch_size - 1
        )
        return self.with_arrays(images, batch_size)

    def with_arrays(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, Detections]]:
        """`with_pictures` for images that are uint8 RGB arrays [H, W, 3] already.

        Args:
          batch_size: default: that of the Detector.
        """
        batches, results = _SizeBatches(batch_size or self.batch_size), _Reorder()
        failures: list[Exception] = []
        for numbered in enumerate(until_failure(images, failures)):
            batch = batches.add(*numbered)
            if batch:
                results.add(self._detect(batch))
                yield from results.ready()
        for batch in batches.rest():
            results.add(self._detect(batch))
        yield from results.ready()
        for failure in failures:  # of an image, after the results of all before it
            raise failure

    def _detect(self, batch):
        """{number: (image, Detections)} of a batch [(number, image)]."""
        if self._process != os.getpid():
            self._load_again()
        outputs = self._run(np.stack([image for _, image in batch]))
        names, ids = tuple(self._labels['names']), tuple(self._labels['ids'])
        results = {}
        for i, (number, image) in enumerate(batch):
            count = outputs['count'][i]  # the rows after it are padding
            found = Detections(
                boxes=outputs['boxes'][i, :count],
                scores=outputs['scores'][i, :count],
                classes=outputs['classes'][i, :count],
                names=names,
                ids=ids,
                mask=outputs['mask'][i] if 'mask' in outputs else None,
            )
            results[number] = image, found
        return results


def model_fingerprint(model: Detector | keras.Model | StoredModel) -> str:
    """Hexadecimal digits that differ between models, of a Detector or of what it accepts."""
    if isinstance(model, Detector):
        return model.fingerprint()
    if isinstance(model, keras.Model):
        return weights_fingerprint(model)
    return engines.ModelFiles(model).fingerprint()


class _SizeBatches:
    """Collects numbered images into batches of one image size."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        # shape -> [(number, image)]; the group with the oldest image is first
        self._groups: dict[tuple, list] = {}

    def add(self, number, image):
        """Takes an image; returns a batch [(number, image)] that is due, or None."""
        group = self._groups.setdefault(image.shape, [])
        group.append((number, image))
        if len(group) == self._batch_size:
            return self._groups.pop(image.shape)
        # An image of a rare size holds back all results after it, so its wait is limited.
        shape, oldest = next(iter(self._groups.items()))
        if number - oldest[0][0] >= 3 * self._batch_size:
            return self._groups.pop(shape)
        return None

    def rest(self):
        """The batches that did not fill up, oldest first."""
        return list(self._groups.values())


class _Reorder:
    """Returns numbered results in the order of their numbers, which begin at 0 without gaps."""

    def __init__(self):
        self._waiting: dict[int, typing.Any] = {}
        self._next = 0

    def add(self, results):
        """Takes {number: result} in any order."""
        self._waiting.update(results)

    def ready(self):
        """Yields the results whose predecessors have all been yielded."""
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1
