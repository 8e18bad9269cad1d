"""Training examples made different each time. All functions are stateless: the same seed gives the same example in any thread.

Pictures are uint8 [H, W, 3] until `scale_jitter`, boxes float32 [N, 4] in pixels. A box that leaves its picture keeps its row
and loses its area; `with_area` says which are left.
"""

from keras_efficientdet.data.augment.color import jitter as color_jitter
from keras_efficientdet.data.augment.geometry import (
    move_boxes,
    random_flip,
    random_vertical_flip,
    scale_jitter,
    with_area,
)
from keras_efficientdet.data.augment.masks import grid_mask
from keras_efficientdet.data.augment.mixing import mix, with_partners
from keras_efficientdet.data.augment.policies import distort

__all__ = [
    'color_jitter',
    'distort',
    'grid_mask',
    'mix',
    'move_boxes',
    'random_flip',
    'random_vertical_flip',
    'scale_jitter',
    'with_area',
    'with_partners',
]
