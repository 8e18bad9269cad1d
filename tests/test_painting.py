"""Masks painted from COCO's outlines, and read from PNG files."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from keras_efficientdet import DataError
from keras_efficientdet.data.painting import mask_of
from keras_efficientdet.data.source import Photo

IDS = (3, 7, 400)


def photo(mask, size=(6, 8)):
    return Photo(Image, 1, *size, np.zeros((0, 4)), (), (), (), mask=mask)


def rectangle(x, y, right, bottom):
    return [[x, y, right, y, right, bottom, x, bottom]]


def test_polygons_by_hand():
    regions = ((7, rectangle(1, 1, 4, 3)), (400, rectangle(6, 4, 8, 6)))
    expected = np.zeros((6, 8), int)
    expected[1:3, 1:4] = 2
    expected[4:6, 6:8] = 3
    assert mask_of(photo(regions), IDS).tolist() == expected.tolist()


def test_the_smaller_of_two_is_on_top_in_any_order():
    regions = ((3, rectangle(2, 2, 4, 4)), (7, rectangle(0, 0, 8, 6)))
    for order in (regions, regions[::-1]):
        found = mask_of(photo(order), IDS)
        assert np.sum(found == 1) == 4 and np.sum(found == 2) == 44


def test_several_polygons_are_one_object_and_none_is_ignored():
    regions = ((3, rectangle(0, 0, 2, 2) + rectangle(5, 0, 7, 2)), (None, rectangle(0, 4, 8, 6)))
    found = mask_of(photo(regions), IDS)
    assert np.sum(found == 1) == 8 and np.all(found[4:] == 255)


def test_run_lengths_compressed_or_not():
    region = np.zeros((6, 8), np.uint8)
    region[1:4, 2:5] = 1
    compressed = coco_mask.encode(np.asfortranarray(region))
    compressed['counts'] = compressed['counts'].decode()
    columns = [13, 3, 3, 3, 3, 3, 20]  # of pixels down the columns: off, on, off, ...
    plain = {'size': [6, 8], 'counts': columns}
    for outline in (compressed, plain):
        assert mask_of(photo(((400, outline),)), IDS).tolist() == (3 * region).tolist()


@pytest.mark.parametrize(
    ('outline', 'message'),
    [
        ({'size': [6, 8]}, 'neither polygons'),
        ({'size': [5, 8], 'counts': [0, 40]}, 'height, width'),
        ([['a', 'b', 'c', 'd', 'e', 'f']], 'neither polygons'),
    ],
)
def test_outlines_that_cannot_be_read_are_named(outline, message):
    with pytest.raises(DataError, match=message):
        mask_of(photo(((3, outline),)), IDS)


def saved(path, pixels, mode=None):
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_a_png_file_holds_category_ids(tmp_path):
    pixels = np.uint8([[0, 3, 7], [255, 7, 0]])
    path = saved(tmp_path / 'a.png', pixels)
    assert mask_of(photo(path, (2, 3)), IDS).tolist() == [[0, 1, 2], [255, 2, 0]]


def test_palettes_and_16_bits_are_read_by_their_values(tmp_path):
    image = Image.fromarray(np.uint8([[0, 3, 7]]))
    image.putpalette([9] * 768)
    image.save(tmp_path / 'palette.png')
    wide = saved(tmp_path / 'wide.png', np.uint16([[0, 400, 7]]))
    assert mask_of(photo(tmp_path / 'palette.png', (1, 3)), IDS).tolist() == [[0, 1, 2]]
    assert mask_of(photo(wide, (1, 3)), IDS).tolist() == [[0, 3, 2]]


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        (np.uint8([[0, 4, 7], [9, 9, 0]]), r'a\.png: .* found also \[4, 9\]'),
        (np.zeros((2, 3, 3), np.uint8), r'a\.png: a mask needs one channel .* found RGB'),
        (np.zeros((3, 3), np.uint8), r'a\.png: the mask is 3x3 \(width x height\), .* 3x2'),
    ],
)
def test_png_files_that_are_no_masks_are_named(tmp_path, pixels, message):
    path = saved(tmp_path / 'a.png', pixels)
    with pytest.raises(DataError, match=message):
        mask_of(photo(path, (2, 3)), IDS)


def test_more_classes_than_a_mask_holds_are_refused():
    with pytest.raises(DataError, match='at most 254 classes, found 255'):
        mask_of(photo(()), tuple(range(255)))
    assert not mask_of(photo(()), tuple(range(254))).any()
