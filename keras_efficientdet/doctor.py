"""What can be known to be wrong before training: do the anchors reach the boxes of each class?"""
import math

import numpy as np

from keras_efficientdet.anchor_head import config_anchors
from keras_efficientdet.config import class_names, load_config
from keras_efficientdet.data import dataset
from keras_efficientdet.matching import POSITIVE_IOU, coverage

CANDIDATE_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
SAMPLE = 200            # images
ENOUGH = 0.9            # share of covered boxes below which a class is worth a word


def anchor_coverage(files_or_dir, config):
    """Share of boxes of each class that some anchor covers with IoU >= 0.5, at the network's input size.

    Looks at the first 200 images, not augmented. A class below .9 trains badly: its boxes get one forced anchor each.
    Returns: {anchor_scale: {class name: share, nan where the class does not occur}}, the configured scale first.
    """
    boxes, classes = _sample(files_or_dir, config)
    scales = dict.fromkeys((config.model.anchor_scale, *CANDIDATE_SCALES))
    return {scale: _by_class(boxes, classes, scale, config) for scale in scales}


def advice(table):
    """The verdict on an `anchor_coverage` table, in words."""
    current, shares = next(iter(table.items()))
    lines = [f'anchor_scale {current}: share of boxes that some anchor covers (IoU >= {POSITIVE_IOU}):  '
             + '  '.join(f'{name} {share:.2f}' for name, share in shares.items())]
    best = max(table, key=lambda scale: _worst(table[scale]))
    if _worst(shares) >= ENOUGH:
        lines.append('  every class is covered; leave anchor_scale as it is')
    elif _worst(table[best]) > _worst(shares) + 0.02:
        lines.append(f'  WARNING: poorly covered classes train badly. anchor_scale={best} would cover at least '
                     f'{_worst(table[best]):.2f} of each class')
    else:
        lines.append('  WARNING: poorly covered classes train badly, and no other anchor_scale is better; try a larger '
                     'image_size')
    return '\n'.join(lines)


def _sample(files_or_dir, config):
    """Boxes [N, 4] in pixels of the network's input, classes [N]"""
    boxes, classes = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int32)]
    one_by_one = load_config(config, {'batch_size': 1})        # `unbatch` crashes the process where a batch has no boxes
    for _, labels in dataset(files_or_dir, one_by_one, training=False).take(SAMPLE).as_numpy_iterator():
        rows = (labels['classes'] >= 0) & ~labels['crowd']
        boxes.append(labels['boxes'][rows] / labels['scale'])
        classes.append(labels['classes'][rows])
    return np.concatenate(boxes), np.concatenate(classes)


def _by_class(boxes, classes, scale, config):
    anchors = config_anchors(load_config(config, {'anchor_scale': scale}).model)
    shares = {}
    for k, name in enumerate(class_names(config.model)):
        own = boxes[classes == k]
        best = [coverage(own[i:i + 256], anchors).numpy() for i in range(0, len(own), 256)]
        shares[name] = float(np.mean(np.concatenate(best) >= POSITIVE_IOU)) if best else math.nan
    return shares


def _worst(shares):
    known = [share for share in shares.values() if not math.isnan(share)]
    return min(known, default=1.0)
