"""`Classifier`: images in, their classes out, whatever the model was stored as."""

import dataclasses
import os
from collections.abc import Iterator

import keras
import numpy as np

from keras_efficientdet.imaging.sources import ImageSource
from keras_efficientdet.inference.detector import Detector


@dataclasses.dataclass(frozen=True, eq=False)  # == of arrays is an array, not a truth value
class Classification:
    """The best classes of one image, highest score first."""

    scores: np.ndarray  # float32 [K], of a softmax
    classes: np.ndarray  # int32 [K], class ids, 0-based
    names: tuple[str, ...]  # of all classes, in class order
    ids: tuple[int, ...]  # the data set's category id of each class

    @property
    def name(self) -> str:
        """The name of the best class."""
        return self.names[self.classes[0]]

    @property
    def score(self) -> float:
        """The score of the best class."""
        return float(self.scores[0])

    def __str__(self) -> str:
        rows = zip(self.scores, self.classes, strict=True)
        return ', '.join(f'{self.names[k]} {score:.3f}' for score, k in rows)


class Classifier:
    """Names the classes of images. The scores are the same for each form of a model.

    Threads may share a Classifier; given to a process, it behaves as `Detector` does.

    Args:
      model: the result of `classifier`, or what `Detector` takes of one: a `.keras` file, a folder
        that `fit` wrote, an exported model.
      batch_size: images of equal size that go through the network together.
    Raises:
      as `Detector`.
    """

    def __init__(self, model: keras.Model | str | os.PathLike, batch_size: int = 8):
        self._detector = Detector(model, batch_size)

    def __call__(self, pictures: ImageSource) -> list[Classification]:
        """Classifications of images, in their order; `pictures` as of `Detector`."""
        return list(self.stream(pictures))

    def stream(self, pictures: ImageSource) -> Iterator[Classification]:
        """Yields the Classification of each image in order, reading at most 4 batches ahead."""
        for found in self._detector.stream(pictures):
            yield Classification(found.scores, found.classes, found.names, found.ids)
