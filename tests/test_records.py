"""TFRecords: official files read, ours written with the official features, odd images.

Faults leave nothing behind.
"""

import collections
import io
import json
import pathlib
import shutil
import struct
import tarfile

import damaged
import drawn
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_efficientdet import label_overrides, read_coco, write_records
from keras_efficientdet.data import record_writer, records
from keras_efficientdet.data.source import Change, Photo, Source
from keras_efficientdet.errors import DataError, MissingRecordsError
from keras_efficientdet.imaging import pil
from keras_efficientdet.ops import images

COCO_OPEN, PASCAL = 'data/coco_open-00000-of-00001.tfrecord', 'data/pascal-00000-of-00001.tfrecord'
SIDES = [f'image/object/bbox/{side}' for side in ('ymin', 'xmin', 'ymax', 'xmax')]


def features(example):
    """{key: list of values} of a serialised tf.train.Example."""
    found = {}
    for key, feature in tf.train.Example.FromString(example.numpy()).features.feature.items():
        values = getattr(feature, feature.WhichOneof('kind') or 'float_list').value
        found[key] = [
            v.decode(errors='replace') if isinstance(v, bytes) and key != 'image/encoded' else v
            for v in values
        ]
    return found


def parsed(files, class_ids):
    return [
        records.parse(s, class_ids) for s in tf.data.TFRecordDataset(records.record_files(files))
    ]


def photo_of(path, **change):
    """A Photo of a file with one box, of the size that a viewer shows."""
    if not change:
        with Image.open(path) as opened:
            change = dict(
                zip(('width', 'height'), ImageOps.exif_transpose(opened).size, strict=True)
            )
    known = {
        'path': pathlib.Path(path),
        'id': 7,
        'crowd': (False,),
        'areas': (6.0,),
        'boxes': np.array([[1.0, 2.0, 3.0, 5.0]]),
        'ids': (18,),
    }
    return Photo(**{**known, **change})


def stored(photo, folder):
    """The photo, written and parsed again."""
    write_records(Source([photo], drawn.LABELS, {}), folder, progress=False)
    return parsed(folder, tuple(drawn.LABELS))[0]


# ---- official files ----


@pytest.mark.parametrize('name', [COCO_OPEN, PASCAL])
def test_official_records_are_parsed_right(name, golden, golden_file):
    expected = golden(name.replace('-00000-of-00001.tfrecord', '_features.json'))
    found = parsed(golden_file(name), range(1, 91))
    assert len(found) == len(expected) > 1
    for example, row in zip(found, expected, strict=True):
        row = {k: v['values'] for k, v in row.items()}
        height, width = row['image/height'][0], row['image/width'][0]
        boxes = np.transpose([row[side] for side in SIDES]) * [height, width, height, width]
        np.testing.assert_allclose(example['boxes'], boxes, atol=1e-4)
        np.testing.assert_array_equal(
            example['classes'], np.array(row['image/object/class/label']) - 1
        )
        np.testing.assert_array_equal(
            example['crowd'], row.get('image/object/is_crowd', [0] * len(boxes))
        )
        np.testing.assert_allclose(example['area'], row['image/object/area'])
        assert example['image'].shape == (height, width, 3) and int(example['id']) == int(
            row['image/source_id'][0]
        )


def test_ours_has_the_official_features(golden, golden_file, tmp_path):
    expected = {
        row['image/source_id']['values'][0]: row for row in golden('data/coco_open_features.json')
    }
    with tarfile.open(golden_file('data/coco_open_images.tar.gz')) as archive:
        archive.extractall(tmp_path / 'images', filter='data')
    (folder,) = {p.parent for p in (tmp_path / 'images').rglob('im_0.jpg')}
    summary = write_records(
        read_coco(golden_file('data/coco_open_annotations.json'), folder),
        tmp_path / 'records',
        progress=False,
    )
    assert summary['changes'] == {
        'boxes of zero size, left out': 1,
        'boxes cut to their picture': 1,
    }
    ours = [
        features(s) for s in tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    ]
    pictures = {
        f['image/source_id'][0]: f
        for f in map(features, tf.data.TFRecordDataset(str(golden_file(COCO_OPEN))))
    }
    assert [f['image/source_id'][0] for f in ours] == ['17', '42', '305']
    # The one difference: a box that reaches beyond picture 17 is cut here and dropped officially.
    reaching = {
        'image/object/class/label': 44,
        'image/object/class/text': 'c44',
        'image/object/is_crowd': 0,
        'image/object/area': 100.0,
        **dict(zip(SIDES, (0.9, 140 / 150, 0.95, 1.0), strict=True)),
    }
    assert all(ours[0][key].pop(3) == pytest.approx(value) for key, value in reaching.items())
    for found in ours:
        row = expected[found['image/source_id'][0]]
        assert set(found) == set(row)
        assert found.pop('image/encoded') == pictures[found['image/source_id'][0]]['image/encoded']
        for key, values in found.items():
            assert (
                values == pytest.approx(row[key]['values'], rel=1e-6)
                if 'bbox' in key
                else values == row[key]['values']
            ), key


def test_written_and_read_again(tmp_path):
    photos = [
        (
            30,
            50,
            [drawn.box(3, 4, 10.5, 20.25, 18), drawn.box(0, 0, 50, 30, 400, iscrowd=1, area=77.5)],
        ),
        (40, 20, []),
    ]
    first, second = parsed(drawn.records(tmp_path, photos), (1, 18, 400))
    np.testing.assert_allclose(first['boxes'], [[4, 3, 24.25, 13.5], [0, 0, 30, 50]], atol=1e-4)
    assert first['classes'].numpy().tolist() == [1, 2] and first['crowd'].numpy().tolist() == [
        False,
        True,
    ]
    assert first['area'].numpy().tolist() == [10.5 * 20.25, 77.5] and (
        int(first['id']),
        int(second['id']),
    ) == (1, 2)
    np.testing.assert_array_equal(first['image'], drawn.picture(*photos[0]))
    assert second['boxes'].shape == (0, 4) and second['classes'].shape == second[
        'crowd'
    ].shape == second['area'].shape == (0,)


def test_summary(tmp_path):
    boxes = [drawn.box(3, 4, 10, 20, 18), drawn.box(45, 0, 10, 30, 18, iscrowd=1)]
    folder = drawn.records(tmp_path, [(30, 50, boxes), (9, 9, [])])
    summary = json.loads((folder / 'dataset.json').read_text())
    assert summary == {
        'images': 2,
        'boxes': 2,
        'images_without_boxes': 1,
        'label_map': {'1': 'cat', '18': 'dog', '400': 'van'},
        'boxes_per_class': {'cat': 0, 'dog': 2, 'van': 0},
        'crowd_boxes': 1,
        'changes': {'boxes cut to their picture': 1},
    }
    assert label_overrides(folder) == {'model': {'label_map': drawn.LABELS, 'num_classes': 3}}
    assert records.count_examples(folder) == 2


def test_changes_of_a_summary_are_members_again(tmp_path):
    folder = drawn.records(tmp_path, [(30, 50, [drawn.box(45, 0, 10, 30, 18)])])
    (change,) = records.summary_of(folder)['changes']
    assert change is Change.BOX_CUT
    assert f'{change}' == str(change) == 'boxes cut to their picture'


def test_changes_that_only_another_version_counts_stay_text(tmp_path):
    folder = drawn.records(tmp_path, [(30, 50, [])])
    summary = json.loads((folder / 'dataset.json').read_text())
    (folder / 'dataset.json').write_text(json.dumps({**summary, 'changes': {'boxes mended': 2}}))
    assert records.summary_of(folder)['changes'] == {'boxes mended': 2}


def test_shards_hold_each_photo_once(tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, 'PHOTOS_PER_SHARD', 3)
    folder = drawn.records(tmp_path, [(8, 8, [drawn.box(1, 1, 4, 4)])] * 7)
    assert [p.name for p in sorted(folder.glob('*.tfrecord'))] == [
        f'{i:05d}-of-00003.tfrecord' for i in range(3)
    ]
    per_file = [len(parsed(str(p), (1, 18, 400))) for p in folder.glob('*.tfrecord')]
    assert sorted(per_file) == [2, 2, 3]
    assert sorted(int(e['id']) for e in parsed(folder, (1, 18, 400))) == [1, 2, 3, 4, 5, 6, 7]
    (folder / 'dataset.json').unlink()
    assert records.count_examples(folder) == 7 and label_overrides(folder) == {}


# ---- pictures ----

ODD = [
    *(f'exif_portrait_{i}.jpg' for i in range(1, 9)),
    *(f'pillow_hopper_orientation_{i}.jpg' for i in range(2, 9)),
    'pillow_exif_imagemagick_orientation.png',
    'pillow_hopper.bmp',
    'pillow_hopper.gif',
    'pillow_hopper.webp',
    'pillow_hopper.jpg',
    'pillow_hopper_16bit_qtables.jpg',
    'pillow_hopper_bad_exif.jpg',
    'pillow_hopper_gray.jpg',
    'pillow_broken_exif_dpi.jpg',
    'pillow_l_trns.png',
    'pillow_mode_16bit.png',
    'pillow_pil123p.png',
    'pillow_pil123rgba.png',
    'pillow_pil_sample_cmyk.jpg',
    'pillow_rgb_trns.png',
    'pillow_transparent.webp',
    'skimage_camera_gray.png',
    'skimage_logo_rgba.png',
]


def test_the_list_of_odd_pictures_is_whole(real):
    assert sorted(ODD) == sorted(p.name for p in real('odd_images').glob('*.[pjgbw]*'))


@pytest.mark.filterwarnings('ignore:Palette images with Transparency', 'ignore:Corrupt EXIF data')
@pytest.mark.parametrize('name', ODD)
def test_odd_pictures_are_stored_upright(real, tmp_path, name):
    path = real('odd_images') / name
    found = stored(photo_of(path), tmp_path / 'records')['image'].numpy().astype(int)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert('RGB')).astype(int)
        as_it_is = (
            opened.format == 'JPEG'
            and opened.getexif().get(0x0112, 1) == 1
            and opened.mode != 'CMYK'
        )
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    if as_it_is:  # two JPEG decoders
        assert difference.mean() < 2 and np.quantile(difference, 0.99) < 12
    else:
        assert difference.max() == 0


def test_all_turned_copies_of_a_photo_become_one(real, tmp_path):
    upright = [
        stored(photo_of(real('odd_images') / f'exif_portrait_{i}.jpg'), tmp_path / str(i))['image']
        for i in range(1, 9)
    ]
    small = [
        tf.image.resize(tf.cast(p, tf.float32), [90, 60], antialias=True).numpy() for p in upright
    ]
    for other in small[1:]:
        assert np.mean(np.abs(other - small[0])) < 5
    assert np.mean(np.abs(small[0][::-1] - small[0])) > 20


@pytest.mark.parametrize('value', range(9))
def test_upright_is_what_pillow_shows(value):
    exif = Image.Exif()
    exif[0x0112] = value
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)).save(
        file, 'PNG', exif=exif
    )
    picture = Image.open(file)
    np.testing.assert_array_equal(pil.upright(picture), ImageOps.exif_transpose(picture))


def test_damaged_exif_beside_an_orientation(tmp_path, pictures):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(damaged.jpeg(pictures[1]))
    with Image.open(path) as opened, pytest.raises(struct.error):
        ImageOps.exif_transpose(opened)
    height, width = pictures[1].shape[:2]
    assert pil.upright_size(path) == (width, height)
    found = stored(photo_of(path, height=width, width=height), tmp_path / 'records')['image']
    np.testing.assert_array_equal(found, np.rot90(np.asarray(Image.open(path)), -1))


@pytest.mark.parametrize('fault', [Image.DecompressionBombError, struct.error, IndexError])
def test_whatever_pillow_raises_names_the_picture(tmp_path, monkeypatch, fault):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])

    def stumble(*_):
        raise fault('bad')

    monkeypatch.setattr(Image, 'open', stumble)
    with pytest.raises(DataError, match=r'1\.png: cannot be read as a picture: bad'):
        write_records(read_coco(path, folder), tmp_path / 'records', progress=False)
    with pytest.raises(DataError, match=r'1\.png: cannot be read as a picture: bad'):
        pil.upright_size(folder / '1.png')


def test_two_that_write_at_once_do_not_write_one_folder(tmp_path):
    source = Source([None], drawn.LABELS, {})
    with record_writer.new_folder(source, tmp_path / 'a') as one:
        with pytest.raises(KeyError), record_writer.new_folder(source, tmp_path / 'a') as two:
            assert one != two
            raise KeyError
        assert one.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_a_photo_annotated_before_turning_stays(real, tmp_path):
    path = real('odd_images/exif_portrait_6.jpg')
    example = stored(photo_of(path, height=1200, width=1800), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'], images.decode(path.read_bytes()))
    np.testing.assert_allclose(example['boxes'], [[1, 2, 3, 5]], atol=1e-3)


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    shades = (np.arange(256).reshape(16, 16) * 257).astype(np.uint16)
    Image.fromarray(shades).save(tmp_path / 'deep.png')
    example = stored(photo_of(tmp_path / 'deep.png'), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'][..., 1], np.arange(256).reshape(16, 16))


def test_jpeg_is_stored_as_it_is(real, tmp_path):
    path = real('coco_mini/images/000000000089.jpg')
    write_records(Source([photo_of(path)], drawn.LABELS, {}), tmp_path / 'records', progress=False)
    (example,) = tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    assert features(example)['image/encoded'] == [path.read_bytes()]


def test_a_png_without_its_end_can_be_trained_on(tmp_path):
    path = tmp_path / 'open.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(tf.errors.InvalidArgumentError):  # Pillow forgives it, TensorFlow does not
        images.decode(path.read_bytes())
    example = stored(photo_of(path), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'], np.asarray(Image.open(path)))


# ---- ids and labels ----


def serialized(label=18, **change):
    buffer = io.BytesIO()
    Image.new('RGB', (12, 10), (9, 8, 7)).save(buffer, 'PNG')
    feature = {
        'image/encoded': [buffer.getvalue()],
        'image/source_id': [b'17'],
        'image/object/class/label': [label],
        **{side: [v] for side, v in zip(SIDES, (0.1, 0.25, 0.5, 0.75), strict=True)},
        **change,
    }
    return tf.train.Example(
        features=tf.train.Features(
            feature={k: record_writer._feature(v) for k, v in feature.items() if v}
        )
    ).SerializeToString()


@pytest.mark.parametrize(
    'name', [b'17', b'-3', b'0', b'10236529664', b'000000000089', b'123456789012345678']
)
def test_numeric_ids_stay_numbers(name):
    assert int(records.parse(serialized(**{'image/source_id': [name]}), [18])['id']) == int(name)


def test_text_ids_are_hashed_alike_and_apart():
    names = [
        b'img_01',
        b'img_02',
        b'1e5',
        b'12.0',
        b'12345678901234567890123',
        'größe.png'.encode(),
        b'',
    ]
    ids = [
        [
            int(records.parse(serialized(**{'image/source_id': [name]}), [18])['id'])
            for name in names
        ]
        for _ in range(2)
    ]
    assert ids[0] == ids[1] and len(set(ids[0])) == len(names) and min(ids[0]) >= 0
    assert ids[0][0] == 2598427396842649451  # the same in every process and version


def test_without_source_id_the_picture_names_itself():
    one, two = (
        int(records.parse(serialized(**{'image/source_id': []}, label=label), [18, 3])['id'])
        for label in (18, 3)
    )
    assert one == two > 0


def test_missing_crowd_and_area():
    example = records.parse(serialized(), [18])
    assert example['crowd'].numpy().tolist() == [False]
    np.testing.assert_allclose(example['boxes'], [[1, 3, 5, 9]], atol=1e-5)
    np.testing.assert_allclose(example['area'], [24.0], rtol=1e-5)


@pytest.mark.parametrize('inside_map', [False, True])
def test_a_label_outside_the_label_map_names_the_image(inside_map):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        if inside_map:
            list(
                tf.data.Dataset.from_tensors(serialized(label=55)).map(
                    lambda s: records.parse(s, [1, 18])
                )
            )
        else:
            records.parse(serialized(label=55), [1, 18])
    for part in ('17', '55', '[1, 18]', 'label_map'):
        assert part in str(error.value)


def test_check_labels_names_the_classes(tmp_path):
    folder = drawn.records(tmp_path, [(8, 8, [])])
    records.check_labels(folder, dict.fromkeys((400, 18, 1, 5)))
    records.check_labels(folder, {**drawn.LABELS, 5: 'cow'})
    with pytest.raises(
        DataError, match="id 18 is class 'dog' in these records, and 'hound' in the configuration"
    ):
        records.check_labels(folder, {**drawn.LABELS, 18: 'hound'})
    with pytest.raises(
        DataError, match=r"the records hold classes \{18: 'dog', 400: 'van'\}.*\[1, 2\]"
    ):
        records.check_labels(folder, dict.fromkeys((1, 2)))
    with pytest.raises(
        DataError, match="class 'dog' has id 18 in these records, and id 400 in the configuration"
    ):
        records.check_labels(folder, {1: 'cat', 18: 'van', 400: 'dog'})


# ---- faults ----


def _no_picture(folder):
    (folder / 'images' / '2.png').unlink()


def _broken_picture(folder):
    path = folder / 'images' / '2.png'
    path.write_bytes(path.read_bytes()[:60])


def _text_as_picture(folder):
    (folder / 'images' / '2.png').write_text('no picture')


def _other_size(folder):
    Image.new('RGB', (31, 20)).save(folder / 'images' / '2.png')


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (_no_picture, 'cannot be read as a picture'),
        (_broken_picture, 'cannot be read as a picture'),
        (_text_as_picture, 'cannot be read as a picture'),
        (_other_size, 'the image is 31x20 (width x height), but its annotation states 30x20'),
    ],
    ids=lambda v: getattr(v, '__name__', ''),
)
def test_a_bad_picture_is_named_and_nothing_is_left(tmp_path, fault, message):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])] * 3)
    fault(tmp_path)
    with pytest.raises(DataError) as error:
        write_records(read_coco(path, folder), tmp_path / 'deep' / 'records', progress=False)
    assert str(folder / '2.png') in str(error.value) and message in str(error.value)
    assert list((tmp_path / 'deep').iterdir()) == []


def test_a_cut_jpeg_is_named(real, tmp_path):
    data = real('coco_mini/images/000000000089.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'cut\.jpg: cannot be read as a picture'):
        stored(photo_of(tmp_path / 'cut.jpg', height=480, width=640), tmp_path / 'records')
    assert not (tmp_path / 'records').exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    folder = drawn.records(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(DataError, match='records exists'):
        drawn.records(tmp_path, [(9, 9, [])])
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_no_photos(tmp_path):
    with pytest.raises(DataError, match='lists no images'):
        write_records(Source([], drawn.LABELS, {}), tmp_path / 'records')
    assert list(tmp_path.iterdir()) == []


def test_record_files(tmp_path):
    folder = drawn.records(tmp_path, [(9, 9, [])])
    (name,) = (str(p) for p in folder.glob('*.tfrecord'))
    shutil.copy(name, folder / 'official.tfrecord-00001-of-00002')
    both = sorted([name, str(folder / 'official.tfrecord-00001-of-00002')])
    assert records.record_files(folder) == both == records.record_files(f'{folder}/*tfrecord*')
    assert records.record_files(name) == [name] and records.record_files(both[::-1]) == both
    for nothing in (tmp_path / 'images', f'{tmp_path}/nowhere/*', []):
        with pytest.raises(MissingRecordsError, match='no TFRecord files'):
            records.record_files(nothing)


def test_real_records_round_trip(real, tmp_path):
    source = read_coco(real('coco_mini/annotations/val.json'), real('coco_mini/images'))
    summary = write_records(source, tmp_path / 'records', progress=False)
    assert (
        summary['images'],
        summary['boxes'],
        summary['crowd_boxes'],
        summary['images_without_boxes'],
    ) == (8, 79, 4, 1)
    per_class = collections.Counter(
        source.label_map[i] for photo in source.photos for i in photo.ids
    )
    assert {name: n for name, n in summary['boxes_per_class'].items() if n} == dict(per_class)
    ids = tuple(source.label_map)
    for example, photo in zip(parsed(tmp_path / 'records', ids), source.photos, strict=True):
        assert int(example['id']) == photo.id
        np.testing.assert_allclose(example['boxes'], photo.boxes, atol=1e-3)
        assert [ids[c] for c in example['classes']] == list(photo.ids)
        np.testing.assert_allclose(example['area'], photo.areas, rtol=1e-6)
