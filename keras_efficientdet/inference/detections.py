"""`Detections`: what was found in one image, and the forms that other programs read."""

import dataclasses
import typing

import numpy as np

from keras_efficientdet.ops.coco_rows import coco_rows


@dataclasses.dataclass(frozen=True, eq=False)  # == of arrays is an array, not a truth value
class Detections:
    """What was found in one image, highest score first, without padding."""

    boxes: np.ndarray  # float32 [D, 4] ymin xmin ymax xmax, pixels
    scores: np.ndarray  # float32 [D]
    classes: np.ndarray  # int32 [D], class ids, 0-based
    names: tuple[str, ...]  # of all classes, in class order
    ids: tuple[int, ...]  # the data set's category id of each class
    # Of a head with masks, uint8 [H, W]: 0 background, k + 1 the class id k of each pixel.
    mask: np.ndarray | None = None

    @property
    def points(self) -> np.ndarray:
        """float32 [D, 2] y, x in pixels: key points, or the middles of boxes."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> 'Detections':
        """The detections with at least this score."""
        kept = self.scores >= score
        return dataclasses.replace(
            self, boxes=self.boxes[kept], scores=self.scores[kept], classes=self.classes[kept]
        )

    def to_coco(self, image_id: int | str) -> list[dict[str, typing.Any]]:
        """Rows of a COCO results file.

        Returns:
          [{'image_id', 'category_id', 'bbox': [x, y, width, height] in pixels, 'score'}].
        """
        return coco_rows(image_id, self.boxes, self.scores, self.classes, self.ids)

    def to_supervision(self) -> typing.Any:
        """A `supervision.Detections`: xyxy, confidence, class_id (0-based), data['class_name'].

        Raises:
          ImportError: supervision is not installed; it is no dependency of this package.
        """
        import supervision

        names = np.array(self.names, str)[self.classes]
        return supervision.Detections(
            xyxy=self.boxes[:, [1, 0, 3, 2]],
            confidence=self.scores,
            class_id=self.classes.astype(int),
            data={'class_name': names},
        )
