"""Detections as rows of other programs, and files of them."""

import csv
import json
import os

import numpy as np
import pytest
from pycocotools.coco import COCO

from keras_efficientdet import Detections
from keras_efficientdet.inference.results import (
    COLUMNS,
    image_ids_of,
    result_rows,
    save_drawn,
    write_csv,
    write_json,
)

FOUND = Detections(
    np.array([[10.0, 20.0, 40.0, 80.0], [1.25, 2.5, 3.0, 4.0]], np.float32),
    np.array([0.9, 0.4], np.float32),
    np.array([2, 0], np.int32),
    ('cat', 'dog', 'van'),
    (1, 18, 400),
)


def test_to_coco():
    assert FOUND.to_coco(7) == [
        {
            'image_id': 7,
            'category_id': 400,
            'bbox': [20.0, 10.0, 60.0, 30.0],
            'score': pytest.approx(0.9),
        },
        {
            'image_id': 7,
            'category_id': 1,
            'bbox': [2.5, 1.25, 1.5, 1.75],
            'score': pytest.approx(0.4),
        },
    ]
    assert FOUND.above(0.95).to_coco(7) == []


def test_detections_compare_by_identity():
    same = FOUND.above(0)
    assert same != FOUND
    assert FOUND in {FOUND}


def test_image_ids_are_cocos_where_the_name_is_a_number():
    ids = [
        result_rows(FOUND, name)[0]['image_id']
        for name in ('val/000000000139.jpg', 'x/photo.2.png')
    ]
    assert ids == [139, 'photo.2'] and result_rows(FOUND, 'film.mp4', 5)[1]['image_id'] == 5


def test_no_two_images_have_one_id():
    assert image_ids_of(['a/7.jpg', 'b/8.jpg', 'b/x.jpg']) == {
        'a/7.jpg': 7,
        'b/8.jpg': 8,
        'b/x.jpg': 'x',
    }
    paths = ['a/7.jpg', 'b/007.jpg', 'b/x.jpg', 'c/x.png']
    assert image_ids_of(paths) == {path: path for path in paths}
    assert image_ids_of(['a/7.jpg', 'a/7.jpg']) == {'a/7.jpg': 7}  # one image, listed twice


def test_names_that_are_not_unicode(tmp_path):
    """'größe.jpg' in the encoding of Windows, as Python reads it on Linux."""
    name = os.fsdecode('größe.jpg'.encode('cp1252'))
    write_csv(tmp_path / 'found.csv', result_rows(FOUND, name))
    write_json(tmp_path / 'found.json', result_rows(FOUND, name))
    table = (tmp_path / 'found.csv').read_text(encoding='utf-8')
    assert table.splitlines()[1].startswith('gr\\udcf6\\udcdfe.jpg,')
    rows = json.loads((tmp_path / 'found.json').read_text(encoding='utf-8'))
    assert os.fsencode(rows[0]['file_name']) == 'größe.jpg'.encode('cp1252')


def test_json_is_read_by_pycocotools(tmp_path):
    write_json(tmp_path / 'found.json', result_rows(FOUND, '139.jpg'))
    truth = COCO()
    truth.dataset = {
        'images': [{'id': 139}],
        'annotations': [],
        'categories': [{'id': i} for i in FOUND.ids],
    }
    truth.createIndex()
    assert [row['bbox'] for row in truth.loadRes(str(tmp_path / 'found.json')).anns.values()] == [
        [20, 10, 60, 30],
        [2.5, 1.25, 1.5, 1.75],
    ]
    write_json(tmp_path / 'found.json', [])
    assert json.loads((tmp_path / 'found.json').read_text()) == []


def test_csv(tmp_path):
    write_csv(tmp_path / 'found.csv', result_rows(FOUND, 'a, b.jpg'))
    with open(tmp_path / 'found.csv', newline='') as file:
        header, first, second = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert (
        first == ['a, b.jpg', 'a, b', '400', 'van', '0.9', '20.0', '10.0', '60.0', '30.0']
        and second[3] == 'cat'
    )


def test_an_error_leaves_the_old_file(tmp_path):
    def rows():
        yield result_rows(FOUND, 'a.jpg')[0]
        raise RuntimeError('stop')

    (tmp_path / 'found.json').write_text('old')
    for write, name in ((write_json, 'found.json'), (write_csv, 'found.csv')):
        with pytest.raises(RuntimeError, match='stop'):
            write(tmp_path / name, rows())
    with pytest.raises(ValueError, match='unknown file extension'):
        save_drawn(tmp_path / 'x.nothing', np.zeros((50, 90, 3), np.uint8), FOUND)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('found.json', 'old')]


def test_to_supervision():
    pytest.importorskip(
        'supervision', reason='supervision is not installed; `make test-engines` installs it'
    )
    found = FOUND.to_supervision()
    np.testing.assert_array_equal(found.xyxy, [[20, 10, 80, 40], [2.5, 1.25, 4, 3]])
    np.testing.assert_allclose(found.confidence, FOUND.scores)
    assert found.class_id.tolist() == [2, 0] and found.data['class_name'].tolist() == ['van', 'cat']
    assert len(FOUND.above(0.95).to_supervision()) == 0
