"""TFRecords: official files read, and ours written with the official features and read again."""

import collections
import io
import json
import shutil
import tarfile

import drawn
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import label_overrides, read_coco, write_records
from keras_efficientdet.data import record_writer, records
from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError, MissingRecordsError

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


def test_a_list_of_two_hundred_files(tmp_path):
    """Their paths together are longer than a file name may be."""
    folder = drawn.records(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])] * 2)
    (file,) = records.record_files(folder)
    files = []
    for i in range(200):
        files.append(str(tmp_path / f'{"long" * 5}-{i:05d}-of-00200.tfrecord'))
        shutil.copy(file, files[-1])
    found = records.open_records(files)
    assert found.files == tuple(files) and found.count == 400
    assert str(found) == f'{files[0]} and 199 more'
