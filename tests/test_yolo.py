"""YOLO labels: real photos, the layouts in use, planted faults."""

import numpy as np
import other_formats
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_coco, read_yolo


@pytest.fixture
def folder(tmp_path):
    """A picture 20 x 40 in images/, its labels, and data.yaml with two names."""
    for place in ('images', 'labels'):
        (tmp_path / place).mkdir()
    Image.new('RGB', (40, 20)).save(tmp_path / 'images' / 'a.png')
    (tmp_path / 'labels' / 'a.txt').write_text('0 0.5 0.5 0.25 0.5\n\n1 0.25 0.5 0.5 1\n')
    (tmp_path / 'data.yaml').write_text('names: [cat, dog]\n')
    return tmp_path


@pytest.mark.parametrize('name', ['bccd/annotations/test.json', 'voc100/annotations/val.json'])
def test_real_photos_written_and_read_back(real, tmp_path, name):
    expected = read_coco(real(name), real(name).parents[1] / 'images')
    found = read_yolo(other_formats.write_yolo(expected, tmp_path))
    other_formats.assert_same(found, expected)
    assert found.label_map == dict(enumerate(expected.label_map.values()))


def test_numbers_become_pixels(folder):
    source = read_yolo(folder)
    assert source.label_map == {0: 'cat', 1: 'dog'} and not any(source.changes.values())
    (photo,) = source.photos
    np.testing.assert_allclose(photo.boxes, [[5, 15, 15, 25], [0, 0, 20, 20]])
    assert (photo.height, photo.width, photo.ids, photo.areas) == (20, 40, (0, 1), (100, 400))


@pytest.mark.parametrize(
    'names',
    [
        'names: {0: cat, 1: dog}\nnc: 2',
        'names: [cat, dog]\ntrain: images\nval: images',
        'path: .\nnames: [cat, dog]\ntrain: ../images',
        'names: [cat, dog]\ntrain: list.txt',
    ],
)
def test_ways_to_write_the_yaml(folder, names):
    (folder / 'data.yaml').write_text(names)
    (folder / 'list.txt').write_text('images/a.png\n')
    assert [p.ids for p in read_yolo(folder).photos] == [(0, 1)]


@pytest.mark.parametrize('file', ['classes.txt', 'obj.names'])
def test_labels_beside_the_pictures(folder, file):
    (folder / 'data.yaml').unlink()
    (folder / 'labels' / 'a.txt').rename(folder / 'images' / 'a.txt')
    (folder / 'images').rename(folder / 'flat')
    (folder / 'flat' / file).write_text('cat\ndog\n')
    source = read_yolo(folder / 'flat')
    assert source.label_map == {0: 'cat', 1: 'dog'} and source.photos[0].ids == (0, 1)


def test_labels_beside_the_pictures_in_a_folder_called_images(folder):
    """As labelImg leaves them. Where labels/ has the file, it counts."""
    (folder / 'labels' / 'a.txt').rename(folder / 'images' / 'a.txt')
    (folder / 'images' / 'classes.txt').write_text('cat\ndog\n')
    assert read_yolo(folder / 'images').photos[0].ids == (0, 1)
    (folder / 'labels' / 'a.txt').write_text('1 0.5 0.5 0.5 0.5\n')
    assert read_yolo(folder / 'images').photos[0].ids == (1,)


def test_a_turned_photo_is_measured_upright(real, folder):
    path = folder / 'images' / 'a.jpg'
    (folder / 'images' / 'a.png').unlink()
    path.symlink_to(real('odd_images/exif_portrait_6.jpg'))
    (photo,) = read_yolo(folder).photos
    assert (photo.height, photo.width) == (1800, 1200)


def test_polygons_and_pictures_without_labels_are_counted(folder):
    (folder / 'labels' / 'a.txt').write_text('1 0.1 0.2 0.5 0.3 0.3 0.8\n0 0.9 0.5 0.4 0.5\n')
    Image.new('RGB', (8, 8)).save(folder / 'images' / 'b.png')
    source = read_yolo(folder)
    assert source.changes == {
        'polygons, of which the boxes around them are used': 1,
        'boxes cut to their picture': 1,
        'pictures without a label file, taken as without objects': 1,
    }
    np.testing.assert_allclose(source.photos[0].boxes, [[4, 4, 16, 20], [5, 28, 15, 40]])
    assert source.photos[1].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('2 0.5 0.5 0.25 0.5', r"class 2 is not among the classes \{0: 'cat', 1: 'dog'\}"),
        ('0.5 0.5 0.5 0.25 0.5', r'class 0\.5 is not among'),
        ('-1 0.5 0.5 0.25 0.5', 'class -1 is not among'),
        (
            '0 20 10 10 10',
            'expected normalised coordinates between 0 and 1, found 20 10 10 10; are these pixels',
        ),
        ('0 -0.1 0.5 0.2 0.2', 'between 0 and 1'),
        ('0 0.5 0.5 0.25', 'expected `class cx cy w h` or a polygon.*found 4 values'),
        ('0 0.5 0.5 0.25 0.5 0.9', 'found 6 values'),
        ('cat 0.5 0.5 0.25 0.5', "each value must be a number, found 'cat'"),
        ('0 0.5 nan 0.25 0.5', "each value must be a number, found 'nan'"),
    ],
)
def test_faults_name_file_and_line(folder, line, message):
    (folder / 'labels' / 'a.txt').write_text(f'0 0.5 0.5 0.25 0.5\n{line}\n')
    with pytest.raises(DataError, match=rf'labels/a\.txt, line 2: .*{message}'):
        read_yolo(folder)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('names: [cat, cat]', r'data\.yaml: `names` must be a list of different names'),
        ('names: [cat, dog]\nnc: 3', r'nc is 3, but there are 2'),
        ('names: [cat, dog]\ntrain: photos', r'data\.yaml: photos is not there; looked for'),
        ('names: [', 'not a yaml file'),
        ('nothing: 1', r'no class names; looked for a yaml file with `names`, classes\.txt'),
    ],
)
def test_faults_of_the_yaml(folder, text, message):
    (folder / 'data.yaml').write_text(text)
    with pytest.raises(DataError, match=message):
        read_yolo(folder)


def test_what_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"no images of split 'train'"):
        read_yolo(folder, 'train')
    (folder / 'labels' / 'b.txt').write_text('')
    with pytest.raises(DataError, match=r'labels/b\.txt: there is no image for this label file'):
        read_yolo(folder)
    for path in (folder / 'labels').iterdir():
        path.unlink()
    with pytest.raises(
        DataError,
        match=r'none of 1 images has a label file; that of .*a\.png would be .*labels/a\.txt',
    ):
        read_yolo(folder)


def test_key_points_are_left_out(folder):
    (folder / 'data.yaml').write_text('names: [cat, dog]\nkpt_shape: [2, 2]\n')
    (folder / 'labels' / 'a.txt').write_text(
        '0 0.5 0.5 0.25 0.5 0.45 0.45 0.5 0.5\n1 0.25 0.5 0.5 1\n'
    )
    source = read_yolo(folder)
    np.testing.assert_allclose(source.photos[0].boxes, [[5, 15, 15, 25], [0, 0, 20, 20]])
    assert source.changes['key points, left out'] == 1


def test_linked_folders_are_read_once_and_hidden_ones_are_not(folder):
    for place in ('images', 'labels'):
        (folder / f'other {place}').mkdir()
        (folder / place / 'camera').symlink_to(folder / f'other {place}', target_is_directory=True)
        (folder / f'other {place}' / 'back').symlink_to(
            folder / place, target_is_directory=True
        )  # a loop
    (folder / 'images' / '.ipynb_checkpoints').mkdir()
    for name in ('camera/b.png', '.ipynb_checkpoints/a-checkpoint.png', '._a.png'):
        Image.new('RGB', (40, 20)).save(folder / 'images' / name)
    (folder / 'labels' / 'camera' / 'b.txt').write_text('1 0.5 0.5 0.5 0.5\n')
    assert {p.path.name: p.ids for p in read_yolo(folder).photos} == {
        'a.png': (0, 1),
        'b.png': (1,),
    }


def test_files_of_windows_programs(folder):
    bom = b'\xef\xbb\xbf'
    (folder / 'data.yaml').unlink()
    (folder / 'classes.txt').write_bytes(bom + b'cat\r\ndog\r\n')
    (folder / 'labels' / 'a.txt').write_bytes(bom + b'0 0.5 0.5 0.25 0.5\r\n')
    source = read_yolo(folder)
    assert source.label_map == {0: 'cat', 1: 'dog'} and source.photos[0].ids == (0,)
    (folder / 'data.yaml').write_bytes(bom + b'names: [cat, dog]\r\ntrain: list.txt')
    (folder / 'list.txt').write_bytes(bom + b'images\\a.png\r\n')
    assert read_yolo(folder, 'train').photos[0].ids == (0,)
    (folder / 'labels' / 'a.txt').write_text('0 0.5 0.5 0.25 0.5', encoding='utf-16')
    with pytest.raises(DataError, match=r'a\.txt: not text in UTF-8 .*; save it as UTF-8'):
        read_yolo(folder)


def test_key_points_where_the_yaml_is_one_folder_above(folder):
    (folder / 'data.yaml').write_text('names: [cat, dog]\nkpt_shape: [2, 2]\n')
    (folder / 'train').mkdir()
    for place in ('images', 'labels'):
        (folder / place).rename(folder / 'train' / place)
    (folder / 'train' / 'labels' / 'a.txt').write_text('0 0.5 0.5 0.25 0.5 0.45 0.45 0.5 0.5\n')
    np.testing.assert_allclose(read_yolo(folder / 'train').photos[0].boxes, [[5, 15, 15, 25]])


@pytest.mark.parametrize('link', ['aa', 'zz'])
def test_a_link_to_a_folder_beside_it_takes_no_label_away(folder, link):
    for place in ('images', 'labels'):
        (folder / place / 'camera').mkdir()
    (folder / 'images' / 'a.png').rename(folder / 'images' / 'camera' / 'a.png')
    (folder / 'labels' / 'a.txt').rename(folder / 'labels' / 'camera' / 'a.txt')
    (folder / 'images' / link).symlink_to('camera', target_is_directory=True)
    assert [(p.path.parent.name, p.ids) for p in read_yolo(folder).photos] == [('camera', (0, 1))]
