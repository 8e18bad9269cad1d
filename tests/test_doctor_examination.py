"""All checks together: data without faults, real data with real faults, other formats."""

import collections.abc
import dataclasses
import json
import pathlib
import re

import drawn
import numpy as np
import official
import other_formats
import planted
import pytest
import tensorflow as tf
from little import little_config
from PIL import Image
from planted import (
    alarms,
    all_crowds,
    changed,
    configured,
    counted_from_0,
    moved,
    without_boxes,
    written,
)

from keras_efficientdet import ConfigError, DataError, fit, load_config, read_coco, read_folder
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.data.records import summary_of
from keras_efficientdet.doctor import (
    before_training,
    examination,
    examine,
    examine_source,
    findings_text,
)


def test_a_healthy_data_set_is_left_in_peace(healthy):
    for fast in (True, False):
        findings = examine(healthy['train'], healthy['val'], configured(), fast=fast)
        assert alarms(findings) == [], findings_text(findings)


def test_summary_counts_what_the_fast_form_does_not_read(healthy, monkeypatch):
    """A class whose boxes all come after the sample is no class without boxes."""
    monkeypatch.setattr(examination, 'SAMPLE', 1)
    assert alarms(examine(healthy['train'], healthy['val'], configured(), fast=True)) == []
    assert summary_of(healthy['train'])['boxes_per_class'] == {'cat': 24, 'dog': 24, 'van': 24}


# Faults of annotations before they are converted: each changes the content of a COCO file.
def _corners(content):
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        a['bbox'] = [x, y, x + w, y + h]


def _fractions(content):
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        a['bbox'] = [x / 150, y / 100, w / 150, h / 100]


def _swapped(content):
    for image in content['images']:
        image['height'], image['width'] = image['width'], image['height']


def _inside_out(content):
    for a in content['annotations']:
        a['bbox'][2] *= -1


def _unnamed(content):
    content['categories'][1]['name'] = ' '


@pytest.mark.parametrize(
    ('plant', 'id', 'found'),
    [
        (_corners, 'boxes.format', 'were clipped'),
        (_fractions, 'boxes.normalised', 'smaller than 2 pixels'),
        (
            _swapped,
            'images.size',
            'height and width are swapped in 24 of 24 images; image 1 (1.png) is 100 high and 150 '
            'wide, but annotated as 150 high and 100 wide',
        ),
        (_inside_out, 'boxes.format', '72 had swapped corners'),
        (_unnamed, 'labels.unnamed', 'without a name'),
    ],
    ids=['corners', 'fractions', 'swapped', 'inside_out', 'unnamed'],
)
def test_a_planted_fault_of_a_coco_file(plant, id, found, tmp_path, write_json):
    annotations, folder = drawn.write_coco(tmp_path, planted.images(24, 24), planted.LABELS)
    content = json.loads(annotations.read_text())
    assert alarms(examine_source(read_coco(annotations, folder))) == []
    plant(content)
    findings = examine_source(read_coco(write_json(content), folder))
    assert id in {f.id for f in alarms(findings)} and found in ''.join(f.found for f in findings), (
        findings_text(findings)
    )


# Faults in files of other formats; `plant` makes the boxes that such a file is read as.
def _sizes_as_corners(source):
    return moved(source, lambda b, p: np.concatenate([b[:, :2] + 60, b[:, 2:] - b[:, :2]], 1))


def _corners_as_centres(source):
    return moved(
        source, lambda b, p: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1)
    )


def _normalised(source):
    return moved(source, lambda b, p: b / np.tile((p.height, p.width), 2))


def _lying(source):
    return changed(source, height=lambda p: p.width, width=lambda p: p.height)


@pytest.mark.parametrize(
    ('write', 'plant', 'id', 'found'),
    [
        (other_formats.write_voc, _sizes_as_corners, 'boxes.format', '72 had swapped corners'),
        (
            other_formats.write_voc,
            _lying,
            'images.size',
            'height and width are swapped in 24 of 24 images',
        ),
        (other_formats.write_csv, _sizes_as_corners, 'boxes.format', '72 had swapped corners'),
        (
            other_formats.write_voc,
            _normalised,
            'boxes.normalised',
            'smaller than 2 pixels',
        ),
        (other_formats.write_yolo, _corners_as_centres, 'boxes.format', 'were clipped'),
    ],
)
def test_a_planted_fault_of_a_folder(write, plant, id, found, sources, tmp_path):
    assert alarms(examine_source(read_folder(write(sources['train'], tmp_path / 'right')))) == []
    findings = examine_source(read_folder(write(plant(sources['train']), tmp_path / 'wrong')))
    assert id in {f.id for f in alarms(findings)} and found in ''.join(f.found for f in findings), (
        findings_text(findings)
    )


def test_images_that_are_not_files_are_examined(sources):
    """Arrays, in a collection that one can only go through."""

    class Photos(collections.abc.Collection):
        def __init__(self, photos):
            self.photos = photos

        def __len__(self):
            return len(self.photos)

        def __iter__(self):
            return iter(self.photos)

        def __contains__(self, photo):
            return photo in self.photos

    photos = [
        dataclasses.replace(p, path=pathlib.Path('nowhere.png'), data=np.array(Image.open(p.path)))
        for p in sources['train'].photos
    ]
    inverted = [dataclasses.replace(p, boxes=np.asarray(p.boxes) / 64) for p in photos]
    assert (
        alarms(
            examine_source(dataclasses.replace(sources['train'], photos=Photos(photos)), fast=True)
        )
        == []
    )
    assert alarms(
        examine_source(dataclasses.replace(sources['train'], photos=Photos(inverted)), fast=True)
    )


@pytest.mark.parametrize(
    ('plant', 'id', 'found'),
    [
        (without_boxes, 'boxes.none', 'no box in 24 images'),
        (all_crowds, 'boxes.all_crowd', 'all 72 boxes are crowd regions'),
        (counted_from_0, 'labels.one_too_low', 'one too low'),
    ],
)
def test_training_stops_where_there_is_nothing_to_learn(
    plant, id, found, sources, healthy, tmp_path, caplog
):
    folder = written(plant(sources['train']), tmp_path / 'train')
    with pytest.raises(DataError, match=re.escape(found)):
        before_training(folder, healthy['val'], configured())
    assert f'ERROR    {id}: train' in caplog.text


def test_training_goes_on_with_other_errors(healthy, caplog):
    before_training(healthy['train'], healthy['train'], configured())
    assert 'ERROR    splits.same: val: all 24' in caplog.text


def test_skipped_findings_are_left_out(sources, healthy, tmp_path, caplog):
    """By the fast and the thorough form, before training, and of annotations alone."""
    beyond = moved(sources['train'], lambda b, p: b + 60)
    train = written(beyond, tmp_path / 'train')
    config = configured()
    for fast in (True, False):
        all_ = examine(train, healthy['val'], config, fast=fast)
        left = examine(train, healthy['val'], config, fast=fast, skip=['boxes.outside'])
        assert 'boxes.outside' in {f.id for f in all_}
        assert left == [f for f in all_ if f.id != 'boxes.outside']
    before_training(train, healthy['val'], config, skip=['boxes'])
    assert 'boxes.' not in caplog.text
    assert alarms(examine_source(beyond, config))
    assert alarms(examine_source(beyond, config, skip=['boxes'])) == []


def test_an_unknown_id_is_refused_before_data_are_read(tmp_path):
    for call in (
        lambda: examine(tmp_path / 'none', None, configured(), skip=['boxes.outsid']),
        lambda: before_training(tmp_path / 'none', None, configured(), skip=['boxes.outsid']),
        lambda: examine_source(None, skip=['boxes.outsid']),
    ):
        with pytest.raises(ValueError, match=r"did you mean 'boxes\.outside'"):
            call()


def test_training_goes_on_where_the_reason_is_skipped(sources, healthy, tmp_path):
    folder = written(all_crowds(sources['train']), tmp_path / 'train')
    before_training(folder, healthy['val'], configured(), skip=['boxes.all_crowd'])


def test_validation_data_without_boxes_do_not_stop_training(sources, healthy, tmp_path, caplog):
    valid = written(without_boxes(sources['val']), tmp_path / 'val')
    before_training(healthy['train'], valid, configured())
    assert 'ERROR    boxes.none: val: no box in 8 images' in caplog.text


@pytest.mark.parametrize('method', ['linear', 'diou'])
def test_fit_refuses_what_could_not_be_evaluated(method, healthy, tmp_path):
    with pytest.raises(
        ConfigError,
        match=f"method '{method}': evaluation while training supports only gaussian and hard",
    ):
        fit(
            little_config(healthy['train'], {'method': method}),
            healthy['train'],
            healthy['val'],
            tmp_path / 'run',
        )
    assert list(tmp_path.iterdir()) == []


def test_fit_asks_the_doctor_first(sources, tmp_path):
    empty = written(without_boxes(sources['train']), tmp_path / 'train')
    with pytest.raises(DataError, match='no box in 24 images'):
        fit(little_config(empty), empty, empty, tmp_path / 'run')


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [
        (
            'bccd',
            {
                'splits.near_duplicates: val: 1 of 87 images look almost the same as an image of '
                'train, for example image 214 (BloodImage_00037.jpg) and there image 19 '
                '(BloodImage_00038.jpg)',
                'boxes.left_out: train: 1 of 2805 boxes',
                'boxes.left_out: val: 1 of 1138 boxes',
                'boxes.repeated: train: 4 of 2804 boxes are there twice',
                'anchors.coverage: train: anchors with anchor_scale 3.0 are too large',
            },
        ),
        ('voc100', {'anchors.coverage: train: anchors with anchor_scale 3.0 are too large'}),
    ],
)
def test_real_data_have_their_real_flaws_and_no_others(name, wanted, real, tmp_path):
    """bccd: two empty boxes, four nearly twice, image 00037 is 00038 again, small platelets."""
    folder = real(name)
    train, valid = (
        written(
            read_coco(folder / f'annotations/{split}.json', folder / 'images'), tmp_path / split
        )
        for split in ('train', 'val')
    )
    config = load_config(
        'efficientdet-lite0', [label_overrides(train), {**planted.SETTINGS, 'image_size': 320}]
    )
    findings = alarms(examine(train, valid, config))
    assert all(f.severity == 'warning' for f in findings), findings_text(findings)
    assert len(findings) == len(wanted) and all(
        any(f'{f.id}: {f.found}'.startswith(w) for f in findings) for w in wanted
    ), findings_text(findings)
    larger = load_config(
        config,
        {'anchor_scale': 2.0} if name == 'bccd' else {'image_size': 640, 'anchor_scale': 2.0},
    )
    assert not [
        f for f in alarms(examine(train, valid, larger, fast=True)) if f.id == 'anchors.coverage'
    ]


def test_the_report_has_the_worst_first_and_short_lines(healthy):
    text = findings_text(
        examine(healthy['train'], None, configured(optimizer='sgd', learning_rate=9.0), fast=True)
    )
    assert text.startswith('doctor: 1 error, 1 warning, ')
    assert (
        text.index('ERROR    splits.no_validation')
        < text.index('WARNING  settings.learning_rate')
        < text.index('NOTE ')
    )
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_broken_image_is_named(sources, tmp_path):
    folder = written(sources['val'], tmp_path / 'val')
    example = tf.train.Example()
    example.features.feature['image/encoded'].bytes_list.value.append(b'not an image')
    example.features.feature['image/source_id'].bytes_list.value.append(b'the-broken-one')
    with tf.io.TFRecordWriter(str(folder / 'x.tfrecord')) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(DataError, match='the-broken-one: cannot be read as an image'):
        examine(folder, None, configured())


@pytest.mark.parametrize(
    ('name', 'read', 'id', 'found'),
    [
        ('coco_ids_alike_as_numbers', 'coco', 'images.repeated_id', 'id 7 and 007'),
        ('coco_same_box_twice', 'coco', 'boxes.repeated', 'are there twice'),
        ('csv_class_spaces_case', 'csv', 'labels.similar_names', "'NUT', 'Nut', 'nut'"),
        ('voc_case_of_names', 'voc', 'labels.similar_names', "'Nut', 'nut'"),
    ],
)
def test_faults_of_real_files_are_named_before_the_training(name, read, id, found):
    folder = official.bug_input(name)
    findings = {f.id: f for f in examine_source(read_folder(folder, kind=read))}
    assert found in findings[id].found


def test_one_box_of_two_classes_is_a_note(tmp_path):
    boxes = [drawn.box(1, 2, 30, 14), drawn.box(1, 2, 30, 14, 18), drawn.box(1.2, 2, 30, 14, 400)]
    source = read_coco(*drawn.write_coco(tmp_path, [(60, 90, boxes)]))
    findings = {f.id: f for f in examine_source(source)}
    assert findings['boxes.two_classes'].severity == 'note'
    assert findings['boxes.two_classes'].numbers == {'repeated': 2, 'boxes': 3}
    assert 'boxes.repeated' not in findings
