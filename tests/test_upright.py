"""EXIF orientation by tensor operations equals that of Pillow, also for damaged files."""

import io

import damaged
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_efficientdet.export.upright import decode_upright, orientation, turn

in_graph = tf.function(orientation, input_signature=[tf.TensorSpec([], tf.string)])


def photo(endian='>', value=6, kind='JPEG'):
    """Bytes of a picture whose EXIF holds two tags before the orientation."""
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0110], exif[0x0112] = 'maker', 'a model of some length', value
    file = io.BytesIO()
    Image.fromarray(np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3)).save(
        file, kind, exif=exif
    )
    return file.getvalue()


@pytest.mark.parametrize('endian', '<>')
@pytest.mark.parametrize('value', range(1, 9))
def test_both_byte_orders(endian, value):
    assert int(in_graph(photo(endian, value))) == value


@pytest.mark.parametrize('fill', [1, 2, 7])
def test_fill_bytes_before_a_marker(fill):
    """The standard allows any number of FF bytes before a marker."""
    encoded = photo()
    filled = encoded[:2] + b'\xff' * fill + encoded[2:]
    assert Image.open(io.BytesIO(filled)).getexif()[0x0112] == 6
    assert int(in_graph(filled)) == 6


@pytest.mark.parametrize('value', range(1, 9))
def test_turned_as_pillow_turns(value):
    image = np.random.default_rng(value).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = value
    lying = Image.fromarray(image)
    lying.info['exif'] = exif.tobytes()
    np.testing.assert_array_equal(
        turn(tf.constant(image), tf.constant(value, tf.int64)), ImageOps.exif_transpose(lying)
    )


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
@pytest.mark.parametrize('shape', [(8, 6), (8, 6, 3)], ids=['grey', 'colour'])
def test_png_of_16_bits_keeps_its_contrast(bits, shape):
    values = np.linspace(0, 2**bits - 1, np.prod(shape)).reshape(shape).astype(np.uint16)
    found = decode_upright(tf.constant(damaged.png_of_16_bits(values))).numpy()
    wanted = values >> (bits - 8)
    wanted = wanted if len(shape) == 3 else np.stack([wanted] * 3, -1)
    np.testing.assert_array_equal(found, wanted)
    assert found.max() == 255


@pytest.mark.parametrize('encoded', [b'', b'\x89PNG', b'\x89PNG\r\n\x1a\n' + 16 * b'\0'])
def test_no_png_of_16_bits(encoded):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_upright(tf.constant(encoded))


@pytest.mark.parametrize('value', [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_1(value):
    assert int(in_graph(photo(value=value))) == 1


def test_no_exif_and_no_jpeg():
    without = io.BytesIO()
    Image.new('RGB', (8, 8)).save(without, 'JPEG')
    for encoded in (
        b'',
        b'\xff',
        b'\xff\xd8',
        b'no picture',
        without.getvalue(),
        photo(kind='PNG'),
    ):
        assert int(in_graph(encoded)) == 1


def test_segments_before_the_exif_are_stepped_over():
    good = photo()
    comment = b'\xff\xfe\x00\x10Exif\0\0 comment'[:18]
    assert int(in_graph(good[:2] + comment + good[2:])) == 6


def test_every_cut_and_every_broken_byte_gives_an_orientation():
    good = photo()[:150]
    assert int(in_graph(good)) == 6
    found = [int(in_graph(good[:n])) for n in range(0, len(good), 3)]
    found += [int(in_graph(good[:n] + b'\xff' + good[n + 1 :])) for n in range(2, len(good), 3)]
    assert set(found) <= set(range(1, 9)) and found[0] == 1


def test_decoded_upright():
    lying = Image.open(io.BytesIO(photo()))
    found = decode_upright(tf.constant(photo()))
    assert found.shape == (16, 24, 3)
    assert (
        np.mean(np.abs(found.numpy().astype(float) - np.asarray(ImageOps.exif_transpose(lying))))
        < 3
    )


def test_real_photos(real):
    paths = sorted(real('odd_images').glob('*orientation_*.jpg')) + sorted(
        real('odd_images').glob('exif_*.jpg')
    )
    assert len(paths) >= 15
    for path in paths:
        assert int(in_graph(path.read_bytes())) == Image.open(path).getexif().get(0x0112, 1), path
