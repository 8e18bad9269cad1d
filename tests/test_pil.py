"""Images of any bit depth keep their contrast, and messages say what to do."""

import damaged
import numpy as np
import official
import pytest
from PIL import Image

from keras_efficientdet import DataError
from keras_efficientdet.imaging.pil import named, rgb, upright_size
from keras_efficientdet.imaging.sources import find_images, read_image


@pytest.mark.parametrize(
    'name',
    [
        'float_0_to_1.tif',
        'float_0_to_65535.tif',
        'grey_10_bits_in_16.tif',
        'grey_12_bits_in_16.png',
        'int32_0_to_255.tif',
    ],
)
def test_every_bit_depth_keeps_its_contrast(name):
    """All show the same: a background of 94 with two brighter rectangles, the brightest 146."""
    image = read_image(official.bug_input('pictures_black_or_white') / name)
    assert image.shape == (80, 96, 3) and image.dtype == np.uint8
    assert (image.min(), image.max()) == (94, 146)


@pytest.mark.parametrize(
    ('dtype', 'top', 'expected'),
    [
        (np.int32, 255, 255),
        (np.uint16, 256, 64),  # 10 bits
        (np.uint16, 1023, 255),
        (np.uint16, 4095, 255),
        (np.uint16, 16383, 255),
        (np.uint16, 16384, 64),
        (np.uint16, 65535, 255),
        (np.int32, 65535, 255),
        (np.float32, 0.5, 128),
        (np.float32, 1.0, 255),
        (np.float32, 2.0, 2),
        (np.float32, 255.0, 255),
        (np.float32, 256.0, 1),
        (np.float32, 65535.0, 255),
    ],
)
def test_the_range_of_grey_values(dtype, top, expected):
    values = np.array([[0, top]], dtype)
    assert np.asarray(rgb(Image.fromarray(values))).tolist() == [[[0] * 3, [expected] * 3]]


@pytest.mark.parametrize('values', [[-1, 5], [0, 65536], [np.nan, 0], [np.inf, 0]], ids=str)
def test_grey_values_without_a_range_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / 'odd.tif')
    with pytest.raises(OSError, match=r'odd\.tif: .*grey values from .*, expected 0 to 1, 255 or'):
        read_image(tmp_path / 'odd.tif')


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_colours_of_16_bits_that_use_fewer(bits, tmp_path):
    values = np.linspace(0, 2**bits - 1, 8 * 6 * 3).reshape(8, 6, 3).astype(np.uint16)
    (tmp_path / 'deep.png').write_bytes(damaged.png_of_16_bits(values))
    if bits == 16:
        np.testing.assert_array_equal(read_image(tmp_path / 'deep.png'), values >> 8)
        return
    with pytest.raises(OSError, match=rf'deep\.png: .*largest value is below {2**bits}, so that'):
        read_image(tmp_path / 'deep.png')


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr'])
def test_other_modes_stay_as_pillow_converts_them(mode):
    image = Image.effect_mandelbrot((16, 12), (-2, -1, 1, 1), 50).convert('RGB').convert(mode)
    np.testing.assert_array_equal(rgb(image), image.convert('RGB'))


def test_a_huge_image_says_what_to_do():
    path = official.bug_input('huge_picture_194_megapixels') / 'images' / '1.tif'
    with pytest.raises(OSError, match=r'1\.tif: .*194400000 pixels.*PIL\.Image\.MAX_IMAGE_PIXELS'):
        read_image(path)
    with pytest.raises(DataError, match=r'1\.tif: .*Scale the image down or cut it into tiles'):
        upright_size(path)


def test_a_missing_image_is_called_missing(tmp_path):
    with pytest.raises(DataError, match=r'none\.png: there is no such file'):
        upright_size(tmp_path / 'none.png')
    with pytest.raises(DataError, match=r'none\.png: there is no such file'), named('none.png'):
        (tmp_path / 'none.png').read_bytes()


def test_all_endings_of_jpeg_are_images():
    folder = official.bug_input('jfif_folder_of_pictures')
    assert [path.name for path in find_images(folder)] == ['a.jpg', 'b.jfif', 'c.JPE']
    assert all(read_image(path).shape[2] == 3 for path in find_images(folder))


def test_hidden_files_of_macos_are_no_images():
    folder = official.bug_input('mac_folder_of_pictures')
    assert [path.name for path in find_images(folder)] == ['a.png']
    assert [path.name for path in find_images(f'{folder}/*')] == ['README', 'a.png']
    assert [path.name for path in find_images(f'{folder}/*.png')] == ['a.png']
