"""Examples made in Python."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import DataError, read_examples, write_records
from keras_efficientdet.data import records

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def example(**change):
    return {'image': PICTURE, 'boxes': [[1, 2, 5, 9]], 'labels': ['dog'], **change}


def test_arrays_and_files_are_written_alike(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / 'a.png')
    gray = PICTURE[..., 0]
    source = read_examples(
        example(image=image, boxes=boxes, labels=labels)
        for image, boxes, labels in [
            (PICTURE, np.array([[1, 2, 5, 9.0]]), ['dog']),
            (str(tmp_path / 'a.png'), [[0, 0, 99, 30], [3, 3, 3, 9]], ['cat', 'dog']),
            (gray, np.zeros((0, 4)), []),
        ]
    )
    assert source.label_map == {1: 'cat', 2: 'dog'}
    assert source.changes == {'boxes cut to their picture': 1, 'boxes of zero size, left out': 1}
    write_records(source, tmp_path / 'records', progress=False)
    found = [
        records.parse(s, (1, 2))
        for s in tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    ]
    for parsed, picture in zip(found, (PICTURE, PICTURE, np.stack([gray] * 3, -1)), strict=True):
        np.testing.assert_array_equal(parsed['image'], picture)
    np.testing.assert_allclose(found[1]['boxes'], [[0, 0, 20, 30]], atol=1e-5)
    assert [list(p['classes'].numpy()) for p in found] == [[1], [0], []] and [
        int(p['id']) for p in found
    ] == [1, 2, 3]


def test_ids_of_a_label_map():
    assert read_examples([example(labels=[7])], {7: 'dog', 9: 'cat'}).photos[0].ids == (7,)
    assert read_examples([example(labels=['cat'])], {7: 'dog', 9: 'cat'}).photos[0].ids == (9,)


@pytest.mark.parametrize(
    ('change', 'label_map', 'message'),
    [
        ({'labels': [3]}, None, 'label 3 is an id, so a label_map is needed'),
        ({'labels': [3]}, {1: 'dog'}, r'label 3 is not among the ids \[1\]'),
        ({'labels': ['cow']}, {1: 'dog'}, "class 'cow' is not among"),
        ({'labels': ['dog', 'dog']}, None, '2 labels need as many boxes of four numbers'),
        ({'boxes': [[1, 2, 3]]}, None, '1 labels need as many boxes of four numbers'),
        (
            {'boxes': [[1, 2, 3, float('inf')]]},
            None,
            'each side of a box must be a number, found inf',
        ),
        ({'image': PICTURE / 255}, None, r'image must be uint8 .* found float64 \[20, 30, 3\]'),
        ({'image': PICTURE[..., :2]}, None, r'found uint8 \[20, 30, 2\]'),
        ({'mask': 1}, None, "expected a dict with image, boxes and labels, found .*'mask'"),
    ],
)
def test_faults_name_the_example(change, label_map, message):
    with pytest.raises(DataError, match=rf'example 1: .*{message}'):
        read_examples([example(), example(**change)], label_map)


def test_without_labels_there_are_no_classes():
    with pytest.raises(DataError, match='no example has a label; give a label_map'):
        read_examples([example(boxes=[], labels=[])])


def test_all_faults_are_named_at_once():
    bad = example(image=PICTURE.astype(np.float32), boxes=[], labels=[])
    good = example(image=PICTURE, boxes=[[1, 2, 5, 9.0]], labels=['dog'])
    with pytest.raises(DataError, match=r'(?s)2 faults:.*example 1: image must.*example 2: image'):
        read_examples([good, bad, bad])
