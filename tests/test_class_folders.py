"""Folders of images named by their class, read as data of classifiers."""

import numpy as np
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_folder
from keras_efficientdet.data.formats.class_folders import read_class_folders


def draw(folder, sizes):
    """One image of each (height, width) in a folder."""
    folder.mkdir(parents=True)
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(np.full((height, width, 3), 40 * i, np.uint8)).save(folder / f'{i}.png')


@pytest.fixture
def animals(tmp_path):
    draw(tmp_path / 'cat', [(20, 30), (40, 10)])
    draw(tmp_path / 'Dog', [(8, 8)])
    return tmp_path


def test_each_image_is_a_box_of_its_class(animals):
    source = read_folder(animals)
    assert source.label_map == {1: 'Dog', 2: 'cat'}
    rows = {p.path.relative_to(animals).as_posix(): p for p in source.photos}
    assert sorted(rows) == ['Dog/0.png', 'cat/0.png', 'cat/1.png']
    assert [p.id for p in source.photos] == [1, 2, 3]
    np.testing.assert_array_equal(rows['cat/0.png'].boxes, [[0, 0, 20, 30]])
    assert rows['cat/0.png'].ids == (2,) and rows['Dog/0.png'].ids == (1,)


def test_splits_have_the_classes_of_all(tmp_path):
    for split, classes in (('train', 'abc'), ('valid', 'ac')):
        for name in classes:
            draw(tmp_path / split / name, [(8, 8)])
    assert read_folder(tmp_path, 'val').label_map == {1: 'a', 2: 'b', 3: 'c'}
    assert read_folder(tmp_path / 'valid').photos[1].ids == (3,)
    with pytest.raises(DataError, match='no data set of a known format'):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ('name', 'label_map'),
    [
        ('pets_val', {1: 'cat', 2: 'dog', 3: 'fish'}),
        ('val2017', {1: 'cat', 2: 'dog', 3: 'fish'}),
        ('pets_train2', {1: 'cat', 2: 'dog'}),
        ('birds_val', {1: 'cat', 2: 'dog'}),
        ('aquarium', {1: 'cat', 2: 'dog'}),
    ],
)
def test_only_other_splits_of_the_same_data_set_add_classes(tmp_path, name, label_map):
    for folder in ('pets_train/cat', 'pets_train/dog', f'{name}/cat', f'{name}/fish'):
        draw(tmp_path / folder, [(8, 8)])
    assert read_folder(tmp_path / 'pets_train').label_map == label_map


@pytest.mark.parametrize('name', ['labels.csv', 'cat/0.xml', 'cat/0.txt', 'a.json', 'data.yaml'])
def test_annotations_make_it_another_format(animals, name):
    (animals / name).write_text('')
    with pytest.raises(DataError):
        read_folder(animals)


@pytest.mark.parametrize('name', ['images', 'test', 'JPEGImages'])
def test_usual_folders_are_no_classes(animals, name):
    draw(animals / name, [(8, 8)])
    with pytest.raises(DataError, match='folders of images named by their class'):
        read_folder(animals)


def test_a_split_of_classes_is_refused(animals):
    with pytest.raises(DataError, match="no split 'train'; its folders are classes"):
        read_folder(animals, 'train')


def test_a_class_that_is_not_listed_is_named(animals):
    with pytest.raises(DataError, match="class 'Dog' is not among"):
        read_class_folders(animals, {1: 'cat'})


def test_all_broken_images_are_named(animals):
    (animals / 'cat' / '0.png').write_bytes(b'no image')
    (animals / 'Dog' / '0.png').write_bytes(b'')
    with pytest.raises(DataError, match=r'(?s)Dog/0\.png.*cat/0\.png'):
        read_folder(animals)
