"""Random changes of training examples.

All functions are stateless: the same seed gives the same example in any thread. Images are uint8
[H, W, 3] until `scale_jitter`. Operations that move pixels return (image, Transform); `moved` makes
the annotations of an example follow (see annotations.py). A box that leaves its image keeps its row
and becomes all 0; `with_area` and `select` drop it.
"""

from keras_efficientdet.data.augment.annotations import (
    Transform,
    is_point,
    move,
    moved,
    select,
    with_area,
)
from keras_efficientdet.data.augment.color import jitter as color_jitter
from keras_efficientdet.data.augment.geometry import (
    random_flip,
    random_vertical_flip,
    scale_jitter,
    scaled_and_cropped,
)
from keras_efficientdet.data.augment.handedness import mirrored_ids, with_sides
from keras_efficientdet.data.augment.masks import grid_mask
from keras_efficientdet.data.augment.mixing import mix, with_partners
from keras_efficientdet.data.augment.policies import distort

__all__ = [
    'Transform',
    'color_jitter',
    'distort',
    'grid_mask',
    'is_point',
    'mirrored_ids',
    'mix',
    'move',
    'moved',
    'random_flip',
    'random_vertical_flip',
    'scale_jitter',
    'scaled_and_cropped',
    'select',
    'with_area',
    'with_partners',
    'with_sides',
]
