"""Image sources: every form that a caller may pass becomes single images, upright and uint8."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet.imaging.sources import find_images, read_image, single_images


@pytest.fixture
def folder(tmp_path):
    """Three image files, a text file, and an image whose name has the form of a pattern."""
    for name in ('b.png', 'a.png', 'c.BMP', 'odd[1].png'):
        Image.new('RGB', (9, 7)).save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no image')
    return tmp_path


def names(paths):
    return [pathlib.Path(path).name for path in paths]


def test_images_of_a_folder_are_sorted_and_other_files_left_out(folder):
    assert names(find_images(folder)) == ['a.png', 'b.png', 'c.BMP', 'odd[1].png']


def test_patterns(folder):
    assert names(find_images(f'{folder}/?.png')) == ['a.png', 'b.png']
    assert names(find_images(f'{folder}/**/c.BMP')) == ['c.BMP']


def test_an_existing_file_is_not_taken_for_a_pattern(folder):
    assert names(find_images(f'{folder}/odd[1].png')) == ['odd[1].png']


def test_a_missing_file_is_left_to_the_reader(folder):
    assert names(find_images(folder / 'missing.png')) == ['missing.png']


def test_nothing_found_is_an_error(folder):
    (folder / 'empty').mkdir()
    for nothing in (folder / 'empty', f'{folder}/*.jpg'):
        with pytest.raises(FileNotFoundError, match='no images found'):
            find_images(nothing)


def test_one_image_is_a_source_of_one():
    array, image = np.zeros((7, 9, 3), np.uint8), Image.new('RGB', (9, 7))
    for one in (array, image, tf.constant(array)):
        assert len(list(single_images(one))) == 1


def test_an_array_of_images_is_split():
    batch = np.arange(2 * 7 * 9 * 3, dtype=np.uint8).reshape(2, 7, 9, 3)
    np.testing.assert_array_equal(np.stack(list(single_images(batch))), batch)


def test_an_iterable_is_not_read_ahead():
    source = iter(['a.png', 'b.png'])
    assert single_images(source) is source


@pytest.mark.filterwarnings('ignore:Palette images with Transparency', 'ignore:Corrupt EXIF data')
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_is_applied(real, orientation):
    found = read_image(real('odd_images') / f'exif_portrait_{orientation}.jpg')
    expected = read_image(real('odd_images/exif_portrait_1.jpg'))
    assert found.shape == expected.shape == (1800, 1200, 3)
    small = [
        tf.image.resize(p.astype(np.float32), [90, 60], antialias=True).numpy()
        for p in (found, expected)
    ]
    assert np.mean(np.abs(small[0] - small[1])) < 5


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    shades = np.arange(256).reshape(16, 16)
    Image.fromarray((shades * 257).astype(np.uint16)).save(tmp_path / 'deep.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'deep.png')[..., 0], shades)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(OSError, match=r'text\.jpg: cannot be read as an image'):
        read_image(tmp_path / 'text.jpg')


@pytest.mark.parametrize(
    'bad',
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        7,
    ],
    ids=lambda b: f'{getattr(b, "dtype", "")}{np.shape(b)}',
)
def test_other_arrays_are_refused(bad):
    with pytest.raises(ValueError, match=r'an image must be uint8 \[height, width, 3\], found '):
        read_image(bad)
