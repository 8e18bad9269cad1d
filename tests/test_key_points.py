"""Key points of COCO files and csv tables."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_key_points
from keras_efficientdet.data.source import Change


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('a.png', 'b.png'):
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / name)
    return folder


def coco(folder, annotations, categories=None):
    content = {
        'images': [
            {'id': 5, 'file_name': 'a.png', 'height': 40, 'width': 60},
            {'id': 9, 'file_name': 'b.png', 'height': 40, 'width': 60},
        ],
        'annotations': [{'id': i, **a} for i, a in enumerate(annotations, 1)],
        'categories': categories
        or [{'id': 1, 'name': 'bird', 'keypoints': ['beak', 'left_wing', 'right_wing']}],
    }
    (folder / 'points.json').write_text(json.dumps(content))
    return folder / 'points.json'


def test_coco(tmp_path, images):
    file = coco(
        tmp_path,
        [
            {'image_id': 5, 'category_id': 1, 'keypoints': [10, 20, 2, 0, 0, 0, 30, 5, 1]},
            {'image_id': 5, 'category_id': 1, 'keypoints': [50, 39, 2, 70, 10, 2, 1, 2, 2]},
        ],
    )
    source = read_key_points(file, images)
    assert source.label_map == {1: 'beak', 2: 'left_wing', 3: 'right_wing'}
    first, second = source.photos
    assert (first.id, first.ids, second.ids) == (5, (1, 3, 1, 3), ())
    assert first.boxes.tolist() == [
        [20, 10, 20, 10],
        [5, 30, 5, 30],
        [39, 50, 39, 50],
        [2, 1, 2, 1],
    ]
    assert source.changes == {Change.POINT_OUTSIDE: 1}


def test_several_categories_name_their_points(tmp_path, images):
    categories = [
        {'id': 4, 'name': 'bird', 'keypoints': ['eye']},
        {'id': 7, 'name': 'fish', 'keypoints': ['eye', 'tail']},
        {'id': 8, 'name': 'stone'},
    ]
    file = coco(
        tmp_path,
        [
            {'image_id': 9, 'category_id': 7, 'keypoints': [1, 2, 2, 3, 4, 2]},
            {'image_id': 9, 'category_id': 8},
        ],
        categories,
    )
    source = read_key_points(file, images)
    assert source.label_map == {1: 'bird eye', 2: 'fish eye', 3: 'fish tail'}
    assert source.photos[1].ids == (2, 3)


@pytest.mark.parametrize(
    ('annotation', 'message'),
    [
        ({'keypoints': [1, 2, 2]}, 'expected x, y, visibility for each of the 3 key points'),
        ({'keypoints': ['x', 2, 2] * 3}, 'annotation 1: each of keypoints must be a number'),
        ({'keypoints': [1, 2, 2] * 3, 'category_id': 2}, 'its category 2 names none'),
        ({'keypoints': [1, 2, 2] * 3, 'image_id': 3}, 'is of image 3, which is not in'),
    ],
)
def test_faults_of_coco_files_are_named(tmp_path, images, annotation, message):
    file = coco(tmp_path, [{'image_id': 5, 'category_id': 1, **annotation}])
    with pytest.raises(DataError, match=f'points.json, .*{message}'):
        read_key_points(file, images)


def table(folder, text):
    (folder / 'points.csv').write_text(text)
    return folder / 'points.csv'


def test_csv(tmp_path, images):
    file = table(tmp_path, 'image,class,x,y\na.png,tip,3.5,7\nb.png,,,\na.png,base,60,40\n')
    source = read_key_points(file, images)
    assert source.label_map == {1: 'base', 2: 'tip'}
    first, second = source.photos
    assert first.boxes.tolist() == [[7, 3.5, 7, 3.5], [40, 60, 40, 60]] and first.ids == (2, 1)
    assert second.path.name == 'b.png' and second.ids == ()
    given = read_key_points(file, images, label_map={4: 'tip', 2: 'base'})
    assert given.photos[0].ids == (4, 2)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('image,x,y\na.png,1,2\n', 'columns image, class, x, y .* found image, x, y'),
        ('image,class,x,y\na.png,tip,one,2\n', 'line 2: x must be a number'),
        ('image,class,x,y\nc.png,tip,1,2\n', 'c.png is not there'),
        ('image,class,x,y\na.png,,,\n', 'no key points, so no classes'),
    ],
)
def test_faults_of_tables_are_named(tmp_path, images, text, message):
    with pytest.raises(DataError, match=message):
        read_key_points(table(tmp_path, text), images)


def test_an_unknown_point_is_named(tmp_path, images):
    file = table(tmp_path, 'image,class,x,y\na.png,tip,1,2\n')
    with pytest.raises(DataError, match=r"points\.csv, line 2: class 'tip' is not among"):
        read_key_points(file, images, label_map={1: 'base'})
