"""CSV tables: the three dialects in use, real photos, planted faults."""

import csv

import drawn
import numpy as np
import official
import other_formats
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_coco, read_csv, read_folder
from keras_efficientdet.data.source import Change

NAMED = ('filename', 'width', 'height', 'xmin', 'ymin', 'xmax', 'ymax', 'class')
PLAIN = (0, 3, 4, 5, 6, 7)


def write(path, rows):
    with path.open('w', newline='') as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize('dialect', ['tensorflow', 'shuffled', 'headerless'])
def test_real_photos_written_and_read_back(real, tmp_path, dialect):
    expected = read_coco(real('coco_mini/annotations/val.json'), real('coco_mini/images'))
    rows, order = (
        list(other_formats.csv_rows(expected)),
        {'tensorflow': range(8), 'shuffled': (7, 3, 6, 4, 0, 5)},
    )
    kept = order.get(dialect, PLAIN)
    header = [] if dialect == 'headerless' else [[NAMED[i] for i in kept]]
    path = write(tmp_path / 'table.csv', [*header, *([row[i] for i in kept] for row in rows)])
    found = read_csv(path, real('coco_mini/images'))
    other_formats.assert_same(found, expected)
    seen = sorted({expected.label_map[i] for photo in expected.photos for i in photo.ids})
    assert found.label_map == dict(enumerate(seen, 1))
    assert (
        sum(not p.ids for p in found.photos) == 1
    )  # a row with a path alone is a picture without objects


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (40, 20)).save(tmp_path / 'images' / 'a.png')
    return tmp_path


def test_names_ids_and_quotes(folder):
    path = write(
        folder / 't.csv',
        [
            ['Label', 'X1', 'Y1', 'X2', 'Y2', 'Image'],
            ['traffic, "red"', 1, 2, 3, 4, 'a.png'],
            ['cat', 0, 0, 50, 20, 'a.png'],
            ['cat', 9, 9, 9, 12, 'a.png'],
        ],
    )
    source = read_csv(path)
    assert source.label_map == {1: 'cat', 2: 'traffic, "red"'} and source.photos[0].ids == (2, 1)
    np.testing.assert_array_equal(source.photos[0].boxes, [[2, 1, 4, 3], [0, 0, 20, 40]])
    assert source.changes == {'boxes cut to their picture': 1, 'boxes of zero size, left out': 1}
    assert read_csv(path, label_map={5: 'traffic, "red"', 9: 'cat'}).photos[0].ids == (5, 9)


GOOD = ['a.png', 1, 2, 3, 4, 'cat']


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (
            [['path', 'xmin', 'ymin', 'xmax', 'y_maximum', 'class'], GOOD],
            r"line 1: no column for ymax; found .*'y_maximum'.*expected a header",
        ),
        ([['path', 'xmin', 'ymin'], GOOD[:3]], 'line 1: no column for xmax, ymax, class'),
        ([GOOD, ['a.png', 1, 2, 'x', 4, 'cat']], r"line 2: xmax must be a number, found 'x'"),
        ([GOOD, ['a.png', 1, 2, '', 4, 'cat']], r"line 2: xmax must be a number, found ''"),
        ([GOOD, ['a.png', 1, 2]], r'line 2: 3 columns, expected at least 6'),
        (
            [GOOD, ['b.png', 1, 2, 3, 4, 'cat']],
            r'line 2: its image b\.png is not there; looked in .*images',
        ),
        (
            [GOOD, ['a.png', 1, 2, 3, 4, 'cow']],
            r"line 2: class 'cow' is not among the classes \['cat'\]",
        ),
        (
            [['a.png', 0.1, 0.2, 0.3, 0.4, 'cat']],
            'all coordinates are between 0 and 1, expected pixels',
        ),
        ([], 'the table is empty'),
    ],
)
def test_faults_name_file_and_line(folder, rows, message):
    path = write(folder / 'mine.csv', rows)
    with pytest.raises(DataError, match=rf'mine\.csv.*{message}'):
        read_csv(path, label_map={1: 'cat'})


def test_without_boxes_there_are_no_classes(folder):
    with pytest.raises(DataError, match='no boxes, so no classes; give a label_map'):
        read_csv(write(folder / 't.csv', [['a.png', '', '', '', '', '']]))
    with pytest.raises(DataError, match=r'no\.csv: no such table'):
        read_csv(folder / 'no.csv')
    assert read_csv(folder / 't.csv', label_map=drawn.LABELS).photos[0].ids == ()


def test_of_two_columns_for_one_thing_the_usual_name_counts(folder):
    path = write(
        folder / 't.csv',
        [
            ['image', 'category', 'xmin', 'ymin', 'xmax', 'ymax', 'class', 'filename'],
            [17, 'cell', 1, 2, 3, 4, 'RBC', 'a.png'],
        ],
    )
    assert read_csv(path).label_map == {1: 'RBC'}


def test_ids_instead_of_names(folder):
    path = write(folder / 't.csv', [['a.png', 1, 2, 3, 4, '7'], ['a.png', 1, 2, 3, 4, 'cat']])
    assert read_csv(path, label_map={7: 'dog', 9: 'cat'}).photos[0].ids == (7, 9)
    with pytest.raises(DataError, match="class '7' is not among"):
        read_csv(path, label_map={8: 'dog', 9: 'cat'})


def test_paths_of_windows(folder):
    assert (
        read_csv(write(folder / 't.csv', [['images\\a.png', 1, 2, 3, 4, 'cat']])).photos[0].path
        == folder / 'images' / 'a.png'
    )


def given(name):
    """(Source, changes) of a folder of inputs as other programs write them."""
    folder = official.bug_input(name)
    (path,) = folder.glob('*.csv')
    source = read_csv(path)
    return source, {change: count for change, count in source.changes.items() if count}


@pytest.mark.parametrize('name', ['csv_semicolon', 'csv_tab', 'csv_makesense'])
def test_what_programs_write(name):
    source, changes = given(name)
    assert [photo.path.name for photo in source.photos] == ['1.png', '2.png']
    assert [photo.boxes.tolist() for photo in source.photos] == [
        [[12, 10, 60, 50]],
        [[20, 55, 70, 85]],
    ]
    assert source.label_map == {1: 'bolt', 2: 'nut'} and not changes
    assert [photo.ids for photo in source.photos] == [(2,), (1,)]


def test_the_table_of_automl():
    source, changes = given('csv_automl')
    assert changes == {Change.OTHER_FOLDER: 2}  # gs://bucket/set/1.png is 1.png here
    np.testing.assert_allclose(source.photos[0].boxes, [[12, 9.6, 60, 49.92]])
    assert source.label_map == {1: 'bolt', 2: 'nut'}
    folder = official.bug_input('csv_automl')
    for split, name in (('train', '1.png'), ('val', '2.png'), ('validation', '2.png')):
        (photo,) = read_folder(folder, split).photos
        assert photo.path.name == name
    assert read_folder(folder, 'train').label_map == {1: 'bolt', 2: 'nut'}
    with pytest.raises(DataError, match='several splits, train, val'):
        read_folder(folder)


def test_the_table_of_kaggle_wheat():
    source, changes = given('csv_wheat')
    (photo,) = source.photos
    assert photo.path.name == '1.png' and photo.boxes.tolist() == [[12, 10, 60, 50]]
    assert source.label_map == {1: 'object'} and changes == {Change.SPELLING: 1}


def test_the_encoding_is_named():
    with pytest.raises(DataError, match=r'boxes\.csv: not text in UTF-8.*save it as UTF-8'):
        given('csv_cp1252')


def test_the_table_of_open_images(folder):
    path = write(
        folder / 't.csv',
        [
            [
                'ImageID',
                'Source',
                'LabelName',
                'Confidence',
                'XMin',
                'XMax',
                'YMin',
                'YMax',
                'IsOccluded',
                'IsGroupOf',
            ],
            ['a', 'xclick', '/m/01', 1, 0.25, 0.5, 0.1, 0.9, 0, 0],
            ['a', 'xclick', '/m/02', 1, 0, 1, 0, 1, 0, 1],
        ],
    )
    (photo,) = read_csv(path).photos
    np.testing.assert_allclose(photo.boxes, [[2, 10, 18, 20], [0, 0, 20, 40]])
    assert photo.crowd == (False, True) and photo.path.name == 'a.png'


@pytest.mark.parametrize(
    ('header', 'row'),
    [
        (['image', 'x', 'y', 'w', 'h', 'class'], ['a.png', 3, 2, 10, 5, 'cat']),
        (['image', 'x', 'y', 'width', 'height', 'class'], ['a.png', 3, 2, 10, 5, 'cat']),
        (['', 'Image Path', 'bbox', 'label'], [0, './a.png', '[3, 2, 10, 5]', 'cat']),
        (['path', 'left', 'top', 'right', 'bottom', 'class'], ['a.png', 3, 2, 13, 7, 'cat']),
        (
            ['path', 'xmin', 'ymin', 'xmax', 'ymax', 'class', 'width', 'height'],
            ['a.png', 3, 2, 13, 7, 'cat', 0, ''],
        ),
    ],
    ids=['w h', 'width height', 'one cell', 'sides', 'no size'],
)
def test_ways_to_state_a_box(folder, header, row):
    (photo,) = read_csv(write(folder / 't.csv', [header, row])).photos
    assert photo.boxes.tolist() == [[2, 3, 7, 13]] and (photo.height, photo.width) == (20, 40)


def test_decimal_commas_between_semicolons(folder):
    (folder / 't.csv').write_text('a.png;1,5;2;3,25;4;cat\n')
    assert read_csv(folder / 't.csv').photos[0].boxes.tolist() == [[2, 1.5, 4, 3.25]]


def test_an_image_under_two_names_is_one(folder):
    rows = [['a.png', 1, 2, 3, 4, 'cat'], ['./images/a.png', 5, 6, 7, 8, 'cat']]
    (photo,) = read_csv(write(folder / 't.csv', rows)).photos
    assert photo.boxes.tolist() == [[2, 1, 4, 3], [6, 5, 8, 7]]


def test_all_faults_are_named_at_once(folder):
    rows = [['a.png', 1, 2, 3, 4, 'cat'], ['b.png', 1, 2, 3, 4, 'cat'], ['c.png', *'1234', 'cat']]
    path = write(folder / 't.csv', rows)
    with pytest.raises(DataError, match=r'(?s)2 faults:.*line 2: .*b\.png.*line 3: .*c\.png'):
        read_csv(path)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([['filename', 'region_shape_attributes'], ['a', '{}']], "VIA's own table"),
        ([['image', 'bbox'], ['a.png', '1 2 3 4']], r'line 2: bbox must be \[x, y, width, height'),
        ([['TRAIN', 'a.png', 'cat', 'x', 1, '', '', 1, 1, '', '']], 'line 1: xmin must be a numb'),
    ],
)
def test_faults_of_other_layouts(folder, rows, message):
    with pytest.raises(DataError, match=message):
        read_csv(write(folder / 't.csv', rows))
