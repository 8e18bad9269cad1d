"""CSV tables: the three dialects in use, real photos, planted faults."""

import csv

import drawn
import numpy as np
import other_formats
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_coco, read_csv

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
