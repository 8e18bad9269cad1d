"""Images are found under the name that an annotation gives, or under one that is nearly that."""

import collections

import pytest
from PIL import Image

from keras_efficientdet import DataError
from keras_efficientdet.data.formats.image_files import ImageFiles, measured
from keras_efficientdet.data.source import Change


@pytest.fixture
def folder(tmp_path):
    names = (
        '1.JPG',
        'scan.v2.png',
        'cam1/a.png',
        'cam2/a.png',
        'cam2/only.jpeg',
        'both.png',
        'both.jpg',
        '.hidden/secret.png',
        '._1.jpg',
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'expected', 'change'),
    [
        ('1.JPG', '1.JPG', None),
        ('cam1/a.png', 'cam1/a.png', None),
        ('cam1\\a.png', 'cam1/a.png', None),
        ('1.jpg', '1.JPG', Change.SPELLING),
        ('1.png', '1.JPG', Change.SPELLING),
        ('1', '1.JPG', Change.SPELLING),
        ('./1.jpeg', '1.JPG', Change.SPELLING),
        ('scan.v2', 'scan.v2.png', Change.SPELLING),
        ('Cam1/A.png', 'cam1/a.png', Change.SPELLING),
        ('both.PNG', 'both.png', Change.SPELLING),
        ('..\\..\\upload\\4\\1.jpg', '1.JPG', Change.OTHER_FOLDER),
        ('/data/local-files/?d=only.jpg', 'cam2/only.jpeg', Change.OTHER_FOLDER),
        ('https://host/scan%2Ev2.png', 'scan.v2.png', Change.OTHER_FOLDER),
        ('/content/data/only.jpg', 'cam2/only.jpeg', Change.OTHER_FOLDER),
    ],
)
def test_found(folder, name, expected, change):
    changes = collections.Counter()
    assert ImageFiles([folder], changes).find([name], 'x.json') == folder / expected
    assert changes == ({change: 1} if change else {})


@pytest.mark.parametrize(
    'name', ['a.png', 'both.gif', '2.png', 'secret.png', '_1.jpg'], ids=lambda name: name
)
def test_not_found(folder, name):
    """None of several is guessed, and hidden files are none."""
    changes = collections.Counter()
    files = ImageFiles([folder], changes)
    assert files.locate([name]) is None and not changes
    with pytest.raises(DataError, match=r'x\.json: its image .* is not there; looked in'):
        files.find([name], 'x.json')


def test_the_first_folder_wins(folder):
    files = ImageFiles([folder / 'cam2', folder / 'cam1'], collections.Counter())
    assert files.find(['A.PNG'], '') == folder / 'cam2' / 'a.png'
    assert files.find(['missing.png', 'a.png'], '') == folder / 'cam2' / 'a.png'


def test_measured(tmp_path):
    Image.new('RGB', (96, 80)).save(tmp_path / 'a.png')
    changes = collections.Counter()
    assert measured(tmp_path / 'a.png', (7, 9.0), changes) == (7, 9) and not changes
    for size in (None, (0, 0), (None, 96), (80, 0)):
        assert measured(tmp_path / 'a.png', size, changes) == (80, 96)
    assert changes[Change.SIZE_MEASURED] == 4
