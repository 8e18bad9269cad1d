"""Faults of boxes, each planted alone: the doctor finds it, and only it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from planted import all_crowds, changed, check, configured, first, moved, without_boxes, written

from keras_efficientdet.data.source import Change
from keras_efficientdet.doctor import examine


def _twice(source):
    def doubled(photo):
        return dataclasses.replace(
            photo,
            boxes=np.concatenate([photo.boxes, photo.boxes + 0.3]),
            **{key: getattr(photo, key) * 2 for key in ('ids', 'areas', 'crowd')},
        )

    return dataclasses.replace(source, photos=[doubled(photo) for photo in source.photos])


# name: (change of the training Source, id, severity, part of `found`, part of `fix`)
FAULTS = {
    'degenerate': (
        lambda s: moved(s, lambda b, p: b * [1, 1, 0, 1] + b[:, [0]] * [0, 0, 1, 0]),
        'boxes.degenerate',
        'error',
        '72 of 72 boxes have no area',
        'order of the coordinates',
    ),
    'a_few_degenerate': (
        lambda s: first(s, 2, lambda s: moved(s, lambda b, p: b[:, [0, 1, 0, 1]])),
        'boxes.degenerate',
        'warning',
        '6 of 72 boxes',
        'correct or delete',
    ),
    'xywh_read_as_xyxy': (
        lambda s: moved(s, lambda b, p: np.concatenate([b[:, :2] + 60, b[:, 2:] - b[:, :2]], 1)),
        'boxes.degenerate',
        'error',
        'inside out',
        'x, y, width, height read as corners',
    ),
    'there_twice': (
        lambda s: first(s, 2, _twice),
        'boxes.repeated',
        'warning',
        '6 of 78 boxes are there twice, with the same class',
        'delete one of each pair',
    ),
    'outside_of_the_image': (
        lambda s: moved(s, lambda b, p: b + 60),
        'boxes.outside',
        'error',
        'extend beyond their image',
        'order',
    ),
    'normalised': (
        lambda s: moved(s, lambda b, p: b / np.tile((p.height, p.width), 2)),
        'boxes.normalised',
        'error',
        '100% of 72 boxes are smaller than 2 pixels',
        'multiply',
    ),
    'whole_images': (
        lambda s: moved(s, lambda b, p: np.tile([0, 0, p.height, p.width], (len(b), 1))),
        'boxes.whole_image',
        'warning',
        '100% of 72',
        'no box at all',
    ),
    'mostly_empty': (
        lambda s: first(s, 16, without_boxes),
        'images.without_boxes',
        'warning',
        '67% of 24',
        'file names',
    ),
    'no_boxes': (without_boxes, 'boxes.none', 'error', 'no box in 24 images', 'image ids'),
    'all_crowds': (
        all_crowds,
        'boxes.all_crowd',
        'error',
        'all 72 boxes are crowd regions',
        'iscrowd',
    ),
    'more_boxes_than_detections': (
        lambda s: first(
            s,
            1,
            lambda s: changed(
                s,
                boxes=lambda p: np.tile(p.boxes, (40, 1)),
                ids=lambda p: p.ids * 40,
                areas=lambda p: p.areas * 40,
                crowd=lambda p: p.crowd * 40,
            ),
        ),
        'boxes.too_many',
        'warning',
        'has 120 boxes, but detection returns at most 100',
        'max_output_size=120',
    ),
    'boxes_left_out': (
        lambda s: dataclasses.replace(s, changes={Change.EMPTY_BOX: 3}),
        'boxes.left_out',
        'warning',
        '3 of 75 boxes',
        'correct or delete',
    ),
    'boxes_cut_by_reading': (
        lambda s: dataclasses.replace(s, changes={Change.BOX_CUT: 60}),
        'boxes.format',
        'error',
        '60 were clipped',
        'corners (x1, y1, x2, y2) read as x, y, width, height',
    ),
}
BESIDE = {  # what else such a fault must bring with it
    'no_boxes': {'labels.absent'},
    'normalised': {'anchors.coverage', 'settings.jitter'},
    'degenerate': {'anchors.coverage'},
    'xywh_read_as_xyxy': {'anchors.coverage', 'settings.jitter'},
    'outside_of_the_image': {'anchors.coverage'},
    'whole_images': {'anchors.coverage'},
    'more_boxes_than_detections': {'boxes.repeated'},  # the test repeats the boxes
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_of_the_boxes(fault, sources, healthy, tmp_path):
    plant, *expected = FAULTS[fault]
    check(
        examine(written(plant(sources['train']), tmp_path / 'train'), healthy['val'], configured()),
        *expected,
        BESIDE.get(fault, ()),
    )


def test_records_that_state_another_size(sources, tmp_path):
    """As converters of other people leave them: boxes divided by the wrong sides."""
    folder = written(sources['train'], tmp_path / 'train')
    (file,) = folder.glob('*.tfrecord')
    examples = [
        tf.train.Example.FromString(s)
        for s in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for example in examples:
            feature = example.features.feature
            (
                feature['image/height'].int64_list.value[:],
                feature['image/width'].int64_list.value[:],
            ) = [150], [100]
            writer.write(example.SerializeToString())
    found = [f for f in examine(folder, None, configured()) if f.id == 'images.size']
    assert 'height and width are swapped in 24 of 24 images' in found[0].found
