"""YOLO labels: real photos, the layouts in use, planted faults."""

import os
import shutil

import numpy as np
import official
import other_formats
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_coco, read_folder, read_yolo
from keras_efficientdet.data.source import Change


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
        ('0 0.5 0.5 0.25 0.5 0.9 0.9 0.9', 'found 8 values'),
        ('0 0.5 1.02 0.25 0.5', 'between 0 and 1'),
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
        ('names: [', 'has `names`, but is not a yaml file'),
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


def given(name):
    """(Source, changes) of a folder of inputs as other programs write them."""
    folder = official.bug_input(name)
    source = read_yolo(folder)
    assert len(source.photos) == 2
    return source, {change: count for change, count in source.changes.items() if count}


def test_a_blank_line_between_names_shifts_no_id():
    source, changes = given('yolo_classes_blank_line')
    assert source.label_map == {0: 'nut', 2: 'bolt', 3: 'washer'}
    assert [photo.ids for photo in source.photos] == [(2,), (2,)] and not changes


@pytest.mark.parametrize('name', ['classes.txt', 'obj.names', 'labels.txt', '_darknet.labels'])
def test_blank_lines_in_every_list_of_names(folder, name):
    (folder / 'data.yaml').unlink()
    (folder / name).write_text('\n  \ncat\n\n')
    (folder / 'labels' / 'a.txt').write_text('2 0.5 0.5 0.25 0.5\n')
    assert read_yolo(folder).label_map == {2: 'cat'}
    (folder / 'labels' / 'a.txt').write_text('1 0.5 0.5 0.25 0.5\n')
    with pytest.raises(DataError, match=r"class 1 is not among the classes \{2: 'cat'\}"):
        read_yolo(folder)


@pytest.mark.parametrize('text', ['cat\ndog\ncat \n', '\n\n'])
def test_names_must_differ(folder, text):
    (folder / 'data.yaml').unlink()
    (folder / 'classes.txt').write_text(text)
    with pytest.raises(DataError, match=r'classes\.txt: expected different class names'):
        read_yolo(folder)


def test_names_of_roboflow_darknet():
    source, changes = given('yolo_roboflow_darknet')
    assert source.label_map == {0: 'nut', 1: 'bolt'} and not changes
    assert [photo.ids for photo in source.photos] == [(0,), (0,)]
    assert [photo.path.parent.name for photo in source.photos] == ['train', 'train']
    folder = official.bug_input('yolo_roboflow_darknet')
    assert len(read_folder(folder, 'train').photos) == 2
    assert len(read_folder(folder / 'train').photos) == 2


def test_splits_must_have_the_same_names(tmp_path):
    for split, names in (('train', 'a\nb'), ('valid', 'b\na')):
        (tmp_path / split).mkdir()
        (tmp_path / split / '_darknet.labels').write_text(names)
    with pytest.raises(DataError, match='these name different classes'):
        read_yolo(tmp_path)


def test_coordinates_rounded_over_one_are_cut():
    source, changes = given('yolo_rounding_over_one')
    assert [len(photo.ids) for photo in source.photos] == [2, 2]
    assert set(changes) == {Change.BOX_CUT}
    assert max(photo.boxes[:, 3].max() for photo in source.photos) == 96


def test_scores_after_a_box_are_left_out():
    source, changes = given('yolo_six_columns_conf')
    assert [len(photo.ids) for photo in source.photos] == [2, 2]
    np.testing.assert_allclose(source.photos[0].boxes[0], [12, 10, 60, 50], atol=1e-4)
    assert changes == {Change.SCORE: 4}


def test_boxes_without_area_are_left_out():
    source, changes = given('yolo_zero_and_tiny_boxes')
    assert [len(photo.ids) for photo in source.photos] == [1, 1]
    assert changes == {Change.EMPTY_BOX: 4}


def test_file_names_that_are_not_utf_8():
    source, changes = given('yolo_non_utf8_file_names')
    assert [len(photo.ids) for photo in source.photos] == [1, 1] and not changes
    assert all(os.fsencode(photo.path.name).startswith(b'teil_') for photo in source.photos)


@pytest.mark.parametrize(
    'text',
    [
        'markdown_extensions:\n  - !!python/name:material.extensions.emoji.twemoji\n',
        'kind: Pod\n---\nkind: Service\n',
        'Bucket: !Ref Name\n',
        'a: [',
        '\ttabs: 1',
    ],
    ids=['mkdocs', 'Kubernetes', 'CloudFormation', 'broken', 'tabs'],
)
@pytest.mark.parametrize('above', [False, True], ids=['beside', 'above'])
def test_foreign_yaml_files_are_not_read(folder, tmp_path, text, above):
    inner = tmp_path / 'inner'
    inner.mkdir()
    for name in ('images', 'labels', 'data.yaml'):
        shutil.move(folder / name, inner / name)
    (tmp_path if above else inner).joinpath('aaa.yml').write_text(text)
    assert read_yolo(inner).label_map == {0: 'cat', 1: 'dog'}
    assert len(read_folder(inner).photos) == 1


def test_all_faults_are_named_at_once(folder):
    for name in 'bc':
        shutil.copy(folder / 'images' / 'a.png', folder / 'images' / f'{name}.png')
        (folder / 'labels' / f'{name}.txt').write_text('9 0.5 0.5 0.2 0.2\n0 5 0.5 0.2 0.2\n')
    (folder / 'images' / 'a.png').write_bytes(b'no image')
    with pytest.raises(DataError) as error:
        read_yolo(folder)
    assert str(error.value).startswith('5 faults:')
    for part in ('a.png: cannot be read', 'b.txt, line 1: class 9', 'c.txt, line 2: expected norm'):
        assert part in str(error.value)


@pytest.mark.parametrize('place', ['/content/drive/data/images', 'C:\\data\\images', '../images'])
def test_a_yaml_of_another_machine(folder, place):
    (folder / 'data.yaml').write_text(f'names: {{"0": cat, "1": 7}}\ntrain: {place}\n')
    source = read_yolo(folder, 'train')
    assert source.label_map == {0: 'cat', 1: '7'} and len(source.photos) == 1


def test_a_list_of_another_machine(folder):
    (folder / 'data.yaml').write_text('names: [cat, dog]\ntrain: train.txt\n')
    (folder / 'train.txt').write_text('/home/me/data/images/a.png\n')
    source = read_yolo(folder, 'train')
    assert source.photos[0].path == folder / 'images' / 'a.png'
    assert source.changes == {Change.OTHER_FOLDER: 1}
    (folder / 'train.txt').write_text('images/a.png\nimages/b.png\nimages/c.png\n')
    with pytest.raises(DataError, match=r'(?s)2 faults:.*b\.png is not there.*c\.png is not there'):
        read_yolo(folder, 'train')


def test_folders_and_label_files_in_capitals(folder):
    (folder / 'images').rename(folder / 'Images')
    (folder / 'labels').rename(folder / 'Labels')
    (folder / 'Labels' / 'a.txt').rename(folder / 'Labels' / 'a.TXT')
    assert [photo.ids for photo in read_folder(folder).photos] == [(0, 1)]
