"""Data sets of images and masks in PNG files, and masks on their way through records."""

import drawn
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import DataError, load_config, read_coco, read_masks, with_masks
from keras_efficientdet.data.cache import fingerprint
from keras_efficientdet.data.data_set import source_of
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.record_writer import write_records
from keras_efficientdet.data.records import open_records, parse
from keras_efficientdet.data.source import Change

LABELS = {1: 'cat', 18: 'dog', 400: 'van'}


def folders(tmp_path, pixels):
    """(folder of grey images, folder of their masks)"""
    places = tmp_path / 'images', tmp_path / 'masks'
    for place in places:
        place.mkdir()
    for i, mask in enumerate(pixels):
        mask = np.uint8(mask)
        Image.fromarray(np.full((*mask.shape, 3), 90, np.uint8)).save(places[0] / f'{i}.png')
        Image.fromarray(mask).save(places[1] / f'{i}.png')
    return places


def parsed(folder, ids):
    serialized = tf.data.TFRecordDataset(list(open_records(folder).files))
    return [parse(record, ids, masks=True) for record in serialized]


def test_images_and_their_masks(tmp_path):
    source = read_masks(*folders(tmp_path, [[[0, 2], [5, 255]], [[0, 0]]]), {2: 'sky', 5: 'sea'})
    write_records(source, tmp_path / 'records', progress=False)
    found = parsed(tmp_path / 'records', (2, 5))
    assert [e['mask'].numpy()[..., 0].tolist() for e in found] == [[[0, 1], [2, 255]], [[0, 0]]]
    # Another order of the classes, and further ones: the record brings its own list of ids.
    (first, _) = parsed(tmp_path / 'records', (9, 5, 2))
    assert first['mask'].numpy()[..., 0].tolist() == [[0, 3], [2, 255]]


def test_faults_are_named(tmp_path):
    images, masks = folders(tmp_path, [[[0, 2]], [[2, 2]]])
    with pytest.raises(DataError, match='from 1 to 254, found'):
        read_masks(images, masks, {300: 'sky'})
    (masks / '1.png').unlink()
    with pytest.raises(DataError, match=r'1 of 2 images have no mask: .*masks/1\.png'):
        read_masks(images, masks, {2: 'sky'})
    Image.new('RGB', (2, 1)).save(images / '0.jpg')
    (images / '1.png').unlink()
    with pytest.raises(DataError, match=r'1 masks belong to several images: .*0\.png'):
        read_masks(images, masks, {2: 'sky'})


def test_an_unknown_value_leaves_nothing_behind(tmp_path):
    source = read_masks(*folders(tmp_path, [[[0, 2]], [[3, 2]]]), {2: 'sky'})
    with pytest.raises(DataError, match=r'1\.png: a mask holds .* found also \[3\]'):
        write_records(source, tmp_path / 'records', progress=False)
    assert not (tmp_path / 'records').exists()


def outlined(x, y, width, height, category):
    right, bottom = x + width, y + height
    corners = [[x, y, right, y, right, bottom, x, bottom]]
    return drawn.box(x, y, width, height, category, segmentation=corners)


PHOTOS = [(40, 60, [outlined(4, 6, 20, 16, 18), drawn.box(40, 20, 10, 10, 400)])]


def test_coco_masks_only_where_asked_for(tmp_path):
    files = drawn.write_coco(tmp_path, PHOTOS)
    plain, masked = read_coco(*files), read_coco(*files, masks=True)
    assert plain.photos[0].mask is None and Change.NO_OUTLINE not in plain.changes
    assert masked.changes[Change.NO_OUTLINE] == 1
    write_records(masked, tmp_path / 'records', progress=False)
    (example,) = parsed(tmp_path / 'records', (1, 18, 400))
    expected = np.zeros((40, 60), int)
    expected[6:22, 4:24] = 2
    expected[20:30, 40:50] = 255  # without an outline
    assert example['mask'].numpy()[..., 0].tolist() == expected.tolist()


def test_records_without_masks_say_so(tmp_path):
    write_records(read_coco(*drawn.write_coco(tmp_path, PHOTOS)), tmp_path / 'records')
    with pytest.raises(tf.errors.InvalidArgumentError, match='has no mask'):
        parsed(tmp_path / 'records', (1, 18, 400))


def test_a_folder_is_read_with_masks_for_a_head_that_has_them(tmp_path):
    drawn.write_coco(tmp_path, PHOTOS * 2)
    settings = {'head': 'segmentation', 'image_size': 64, 'batch_size': 2}
    classes = {'model': {'label_map': drawn.LABELS, 'num_classes': 3}}
    config = load_config('efficientdet-lite0', [settings, classes])
    _, labels = next(iter(dataset(tmp_path, config, training=False)))
    assert labels['mask'].shape == (2, 40, 60, 1) and np.max(labels['mask'] == 2)
    assert 'mask' not in next(iter(dataset(tmp_path, load_config(config, {'head': 'anchor'}),
                                           training=False)))[1]  # fmt: skip


def test_formats_without_masks_say_what_has_them(tmp_path):
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'images').mkdir()
    (tmp_path / 'classes.txt').write_text('cat\n')
    (tmp_path / 'labels' / 'a.txt').write_text('0 .5 .5 .2 .2\n')
    Image.new('RGB', (20, 20)).save(tmp_path / 'images' / 'a.png')
    assert source_of(tmp_path)
    with pytest.raises(DataError, match=r'read as yolo, which has no masks; .* `with_masks`'):
        source_of(tmp_path, masks=True)


def test_the_fingerprint_changes_with_the_masks(tmp_path):
    files = drawn.write_coco(tmp_path / 'coco', PHOTOS)
    pngs = tmp_path / 'masks'
    pngs.mkdir()
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(pngs / '1.png')
    plain = read_coco(*files, masks=False)
    small = type(plain)(plain.photos, {1: 'cat', 18: 'dog'}, {})
    prints = [fingerprint(s) for s in (small, with_masks(small, pngs))]
    Image.fromarray(np.full((40, 60), 1, np.uint8)).resize((120, 80)).save(pngs / '1.png')
    prints += [fingerprint(with_masks(small, pngs)), fingerprint(read_coco(*files, masks=True))]
    assert len(set(prints)) == 4
