"""The images whose masks were found worst, annotated and found side by side."""

import numpy as np

from keras_efficientdet.evaluation.mask_metrics import MaskCounts
from keras_efficientdet.evaluation.report.gallery import Exhibit, images_by_id
from keras_efficientdet.imaging.drawing import draw_mask


def mask_gallery(data, config, counts: MaskCounts) -> list[Exhibit]:
    """An Exhibit for each of `counts.worst`: the annotated mask on the left, the found one right.

    Args:
      data: folder or files of the records that were evaluated.
      config: Config of the evaluation.
    """
    pixels = images_by_id(data, config, {row.image_id for row in counts.worst})
    exhibits = []
    for row in counts.worst:
        image, file = pixels[row.image_id]
        height, width = image.shape[:2]
        masks = (row.annotated[:height, :width], row.found[:height, :width])
        pair = np.concatenate([draw_mask(image, mask) for mask in masks], 1)
        title = f'image {row.image_id} ({file})' if file else f'image {row.image_id}'
        exhibits.append(Exhibit(pair, f'{title}: {row.right:.1%} of the pixels are right'))
    return exhibits
