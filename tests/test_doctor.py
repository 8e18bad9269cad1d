"""Each fault planted alone in a small data set or configuration that is otherwise in order: the doctor names it, and only it."""
import dataclasses
import json
import re

import drawn
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import DataError, efficientdet, fit, load_config, read_coco, write_records
from keras_efficientdet.cache import label_overrides
from keras_efficientdet.checkpoints import official_weights, save_official
from keras_efficientdet.doctor import before_training, examination, examine, examine_source, report
from keras_efficientdet.doctor.batch import ANCHOR_COLOR, draw_batch
from keras_efficientdet.doctor.settings import check_settings
from keras_efficientdet.records import summary_of

LABELS = {1: 'cat', 2: 'dog', 3: 'van'}
SETTINGS = {'image_size': 128, 'batch_size': 8, 'optimizer': 'adam', 'learning_rate': 0.01, 'lr_warmup_init': 1e-4,
            'jitter_min': 0.8, 'jitter_max': 1.25, 'num_epochs': 200}


def photos(count, seed):
    """(height, width, three boxes, one of each class) of `count` pictures that all look different."""
    rng = np.random.default_rng(seed)
    def place(side):
        return [int(v) for v in rng.uniform(2, 60, 2)] + [side, side]
    return [(100, 150, [drawn.box(*place(int(rng.integers(24, 38))), k) for k in LABELS]) for _ in range(count)]


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """{'train': Source of 24 pictures, 'val': Source of 8}, both in order."""
    return {name: read_coco(*drawn.write_coco(tmp_path_factory.mktemp(name), photos(n, n), LABELS))
            for name, n in (('train', 24), ('val', 8))}


@pytest.fixture(scope='module')
def healthy(sources, tmp_path_factory):
    """{'train': folder, 'val': folder} of their records."""
    return {name: written(source, tmp_path_factory.mktemp('records') / name) for name, source in sources.items()}


def written(source, folder):
    write_records(source, folder, progress=False)
    return folder


def configured(**change):
    return load_config('efficientdet-lite0', [SETTINGS, {'model': {'label_map': LABELS, 'num_classes': 3}}, change])


def alarms(findings):
    return [f for f in findings if f.severity != 'note']


def moved(source, change, **fields):
    """The Source with `change(boxes, photo)` in place of the boxes, or other fields of its photos."""
    made = [dataclasses.replace(p, boxes=np.asarray(change(p.boxes, p), float).reshape(-1, 4),
                                **{k: v(p) for k, v in fields.items()}) for p in source.photos]
    return dataclasses.replace(source, photos=made)


def same(boxes, _):
    return boxes


def relabelled(source, ids, names=LABELS):
    """The Source with other ids: {id: id}."""
    made = [dataclasses.replace(p, ids=tuple(ids.get(i, i) for i in p.ids)) for p in source.photos]
    return dataclasses.replace(source, photos=made, label_map={ids.get(i, i): name for i, name in names.items()})


def only(source, keep):
    """The Source without the boxes of classes that are not in `keep`."""
    def rows(p):
        return [k for k, i in enumerate(p.ids) if i in keep]
    return moved(source, lambda b, p: b[rows(p)], ids=lambda p: tuple(p.ids[k] for k in rows(p)),
                 areas=lambda p: tuple(p.areas[k] for k in rows(p)), crowd=lambda p: tuple(p.crowd[k] for k in rows(p)))


def first(source, count, change):
    """The Source with `change(photo)` for its first `count` photos."""
    return dataclasses.replace(source, photos=[change(p) for p in source.photos[:count]] + source.photos[count:])


def emptied(p):
    return dataclasses.replace(p, boxes=np.zeros((0, 4)), ids=(), areas=(), crowd=())


def test_a_healthy_data_set_is_left_in_peace(healthy):
    for fast in (True, False):
        findings = examine(healthy['train'], healthy['val'], configured(), fast=fast)
        assert alarms(findings) == [], report(findings)


# name: (what is done to the training Source, key, severity, a word of what is found, a word of the fix)
DATA_FAULTS = {
    'ids_from_0': (lambda s: relabelled(s, {1: 0, 2: 1, 3: 2}), 'class ids', 'error', 'one too low', 'label_map'),
    'ids_up_to_num_classes': (lambda s: relabelled(s, {1: 2, 2: 3, 3: 4}), 'class ids', 'error', 'one too high', 'label_map'),
    'ids_with_gaps': (lambda s: relabelled(s, {2: 18, 3: 400}), 'class ids', 'error', '18, 400 are not among', 'label_overrides'),
    'names_of_another_map': (lambda s: relabelled(s, {}, {1: 'dog', 2: 'cat', 3: 'van'}), 'label map', 'error', "1: 'dog' in the",
                             'one map'),
    'a_class_that_never_occurs': (lambda s: only(s, {1, 3}), 'classes in train', 'warning',
                                  '1 of 3 classes have no box in train: dog', 'cannot learn'),
    'degenerate': (lambda s: moved(s, lambda b, p: b * [1, 1, 0, 1] + b[:, [0]] * [0, 0, 1, 0]), 'degenerate boxes', 'error',
                   '72 of 72 boxes have no area', 'order of the numbers'),
    'a_few_degenerate': (lambda s: first(s, 2, lambda p: dataclasses.replace(p, boxes=p.boxes[:, [0, 1, 0, 1]])),
                         'degenerate boxes', 'warning', '6 of 72 boxes', 'mend'),
    'xywh_read_as_xyxy': (lambda s: moved(s, lambda b, p: np.concatenate([b[:, :2] + 60, b[:, 2:] - b[:, :2]], 1)),
                          'degenerate boxes', 'error', 'inside out', 'x, y, width, height read as corners'),
    'out_of_the_picture': (lambda s: moved(s, lambda b, p: b + 60), 'boxes out of the picture', 'error', 'reach out', 'order'),
    'normalised': (lambda s: moved(s, lambda b, p: b / np.tile((p.height, p.width), 2)),
                   'normalised boxes', 'error', '100% of 72 boxes are smaller than 2 pixels', 'multiply'),
    'whole_pictures': (lambda s: moved(s, lambda b, p: np.tile([0, 0, p.height, p.width], (len(b), 1))),
                       'boxes of the whole picture', 'warning', '100% of 72', 'no box at all'),
    'mostly_empty': (lambda s: first(s, 16, emptied), 'pictures without boxes', 'warning', '67% of 24', 'file names'),
    'no_boxes': (lambda s: moved(s, lambda b, p: b[:0], ids=lambda p: (), areas=lambda p: (), crowd=lambda p: ()), 'no boxes',
                 'error', 'no box in 24 pictures', 'image ids'),
    'all_crowds': (lambda s: moved(s, same, crowd=lambda p: (True,) * 3), 'crowds', 'error', 'all 72 boxes are crowds',
                   'iscrowd'),
    'ids_not_unique': (lambda s: moved(s, same, id=lambda p: p.id // 2), 'image ids', 'error', 'more than one picture', 'own'),
    'more_boxes_than_detections': (lambda s: first(s, 1, lambda p: dataclasses.replace(
        p, boxes=np.tile(p.boxes, (40, 1)), ids=p.ids * 40, areas=p.areas * 40, crowd=p.crowd * 40)), 'many boxes', 'warning',
        '120 boxes, detection stops at 100', 'max_output_size=120'),
    'anchors_too_large': (lambda s: moved(s, lambda b, p: np.concatenate([b[:, :2], b[:, :2] + 14], 1)), 'anchors', 'warning',
                          'the anchors are too large', 'set anchor_scale=1'),
    'boxes_left_out': (lambda s: dataclasses.replace(s, changes={'boxes of zero size, left out': 3}), 'boxes left out', 'warning',
                       '3 of 75 boxes', 'mend'),
    'boxes_cut_by_reading': (lambda s: dataclasses.replace(s, changes={'boxes cut to their picture': 60}), 'box format', 'error',
                             '60 cut', 'corners (x1, y1, x2, y2) read as x, y, width, height'),
    'class_names_missing': (lambda s: relabelled(s, {}, {1: 'cat', 2: '', 3: 'van'}), 'class names', 'warning',
                            'classes 2 have no name', 'name each'),
    'class_names_twice': (lambda s: relabelled(s, {}, {1: 'cat', 2: 'dog', 3: 'dog'}), 'class names', 'error',
                          "2, 3 have the same name 'dog'", 'merge'),
    'background_in_the_map': (lambda s: relabelled(s, {}, {1: 'background', 2: 'dog', 3: 'van'}), 'background', 'error',
                              "'background'", 'objects only'),
}
_BESIDE = {     # what else such a fault must bring with it
    'no_boxes': {'classes in train'}, 'all_crowds': set(), 'normalised': {'anchors', 'jitter'}, 'degenerate': {'anchors'},
    'xywh_read_as_xyxy': {'anchors', 'jitter'}, 'out_of_the_picture': {'anchors'}, 'whole_pictures': {'anchors'}}
_OWN_MAP = ('class_names_missing', 'class_names_twice', 'background_in_the_map')


@pytest.mark.parametrize('fault', DATA_FAULTS)
def test_a_planted_fault_of_the_data(fault, sources, healthy, tmp_path):
    plant, key, severity, found, fix = DATA_FAULTS[fault]
    train, valid = written(plant(sources['train']), tmp_path / 'train'), healthy['val']
    config = configured()
    if fault in _OWN_MAP:
        config = load_config(config, label_overrides(train))
        valid = written(dataclasses.replace(sources['val'], label_map=config.model.label_map), tmp_path / 'val')
    check(examine(train, valid, config), key, severity, found, fix, _BESIDE.get(fault, set()))


def check(findings, key, severity, found, fix, beside=()):
    """Exactly this finding is there, and nothing beside it but what is listed."""
    assert {f.key for f in alarms(findings)} <= {key, *beside}, report(findings)
    mine = [f for f in findings if f.key == key]
    assert mine, report(findings)
    assert mine[0].severity == severity and found in mine[0].found and fix in mine[0].fix, report(mine)


# name: (overrides, weights, key, severity, a word of what is found, a word of the fix)
SETTING_FAULTS = {
    'adam_with_the_rate_of_sgd': ({'learning_rate': 0.08}, None, 'learning rate', 'warning', 'too high for adam', '0.001'),
    'sgd_10_times_too_high': ({'optimizer': 'sgd', 'learning_rate': 0.8}, None, 'learning rate', 'warning', 'too high for sgd',
                              '0.08'),
    'sgd_with_the_rate_of_adam': ({'optimizer': 'sgd', 'learning_rate': 1e-3}, None, 'learning rate', 'warning',
                                  'too low for sgd', '0.08'),
    'unknown_optimizer': ({'optimizer': 'adamm'}, None, 'optimizer', 'error', "'adamm'", 'sgd, adam'),
    'batch_of_two': ({'batch_size': 2}, None, 'batch size', 'warning', 'batch_size 2', 'at least 4'),
    'batch_larger_than_the_data': ({'batch_size': 32, 'learning_rate': 0.002}, None, 'batch size', 'error',
                                   '24 pictures are fewer', 'lower batch_size'),
    'all_warm_up': ({'lr_warmup_epoch': 150.}, None, 'warm-up', 'warning', '450 of 600 steps', 'lr_warmup_epoch'),
    'warm_up_from_above': ({'lr_warmup_init': 0.008}, None, 'warm-up start', 'warning', 'begins at 0.008 and ends at 0.0013',
                           'lr_warmup_init=0.0001'),
    'too_few_steps': ({'num_epochs': 10}, None, 'steps', 'warning', '30 steps in all', 'num_epochs to 134'),
    'constant_batch_norm': ({'batch_norm_ramp': False}, None, 'batch norm', 'warning', 'after 600 steps; 1000',
                            'batch_norm_ramp'),
    'scaling_of_the_large_models': ({'mean_rgb': [123.7, 116.3, 103.5], 'stddev_rgb': [58.4, 57.1, 57.4]}, None, 'scaling',
                                    'warning', '[123.7, 116.3, 103.5]', 'mean_rgb=[127.0, 127.0, 127.0]'),
    'coco_weights_for_three_classes': ({}, 'coco', 'weights', 'error', '90 classes, the configuration has 3', 'reinit'),
    'missing_weights': ({}, 'nowhere/model', 'weights', 'error', 'no such checkpoint', 'path'),
    'jitter': ({'jitter_min': 6., 'jitter_max': 8.}, None, 'jitter', 'warning', 'leaves nothing of', '0.8 and 1.25'),
    'anchors_too_large_by_setting': ({'anchor_scale': 12.0}, None, 'anchors', 'warning', 'the anchors are too large',
                                     'anchor_scale='),
    'background_counted': ({'model': {'label_map': None, 'num_classes': 4}}, None, 'background', 'warning', 'one more',
                           'objects only'),
    'odd_image_size': ({'image_size': [150, 200]}, None, 'image size', 'note', 'not a multiple of 128', '[128, 256]'),
    'no_names': ({'model': {'label_map': None, 'num_classes': 3}}, None, 'class names', 'note', 'called 1 to 3', 'label_map'),
}


@pytest.mark.parametrize('fault', SETTING_FAULTS)
def test_a_planted_fault_of_the_settings(fault, healthy):
    change, weights, *expected = SETTING_FAULTS[fault]
    beside = {'classes in train'} if fault == 'background_counted' else ()
    check(examine(healthy['train'], healthy['val'], configured(**change), weights), *expected, beside)


@pytest.mark.parametrize('classes', [2, 3])
def test_weights_of_another_number_of_classes(classes, tmp_path):
    model = efficientdet(configured(model={'num_classes': classes, 'label_map': None}, fpn_cell_repeats=1))
    save_official(model, str(tmp_path / 'model'))
    model.save_weights(str(tmp_path / 'model.weights.h5'))
    for weights in (official_weights(model), str(tmp_path / 'model'), str(tmp_path / 'model.weights.h5')):
        found = [f.found for f in check_settings(configured(), 24, weights) if f.key == 'weights']
        assert found == (['the weights know 2 classes, the configuration has 3'] if classes == 2 else [])


def test_no_validation_data(healthy, tmp_path):
    (tmp_path / 'nothing').mkdir()
    for valid in (None, tmp_path / 'nothing'):
        check(examine(healthy['train'], valid, configured()), 'empty val', 'error', 'no', 'keep a fifth')


def test_validation_on_the_training_pictures(healthy):
    for fast in (True, False):
        findings = examine(healthy['train'], healthy['train'], configured(), fast=fast)
        check(findings, 'train = val', 'error', 'all 24 pictures of val', 'split anew')


def test_a_class_that_validation_lacks(sources, healthy, tmp_path):
    valid = written(only(sources['val'], {1, 2}), tmp_path / 'val')
    check(examine(healthy['train'], valid, configured()), 'classes in val', 'note', 'no box in val: van', 'nan')


def test_pictures_in_both_splits(sources, healthy, tmp_path):
    mixed = dataclasses.replace(sources['val'], photos=[
        *sources['val'].photos, *(dataclasses.replace(p, id=p.id + 100) for p in sources['train'].photos[:2])])
    findings = examine(healthy['train'], written(mixed, tmp_path / 'val'), configured())
    check(findings, 'shared pictures', 'warning', '2 of 10 pictures of val are in train too, like image 101', 'split anew')


def test_edited_copies_in_both_splits(sources, healthy, tmp_path):
    """A brighter JPEG of half the size has another hash, and is found by its look."""
    photo = sources['train'].photos[3]
    picture = Image.open(photo.path).resize((75, 50)).point(lambda v: min(255, int(v * 1.1)))
    picture.save(tmp_path / 'copy.jpg', quality=60)
    copy = dataclasses.replace(photo, path=tmp_path / 'copy.jpg', id=77, height=50, width=75, boxes=photo.boxes / 2)
    mixed = dataclasses.replace(sources['val'], photos=[*sources['val'].photos, copy])
    folder = written(mixed, tmp_path / 'val')
    check(examine(healthy['train'], folder, configured()), 'near duplicates', 'warning', 'like image 77 and 4', 'look at them')
    assert alarms(examine(healthy['train'], folder, configured(), fast=True)) == []


def test_summary_counts_what_the_fast_form_does_not_read(healthy, monkeypatch):
    """A class whose boxes all come after the sample is no class without boxes."""
    monkeypatch.setattr(examination, 'SAMPLE', 1)
    assert alarms(examine(healthy['train'], healthy['val'], configured(), fast=True)) == []
    assert summary_of(healthy['train'])['boxes_per_class'] == {'cat': 24, 'dog': 24, 'van': 24}


# Annotations before they become records: name: (what is done to a COCO file's content, key, found)
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


@pytest.mark.parametrize(('plant', 'key', 'found'), [
    (_corners, 'box format', 'cut to it'), (_fractions, 'normalised boxes', 'smaller than 2 pixels'),
    (_swapped, 'picture size', 'height and width are swapped in 24 of 24 pictures; image 1 is 100 high and 150 wide'),
    (_inside_out, 'box format', '72 were left out'), (_unnamed, 'class names', 'no name')],
                         ids=['corners', 'fractions', 'swapped', 'inside_out', 'unnamed'])
def test_a_planted_fault_of_a_coco_file(plant, key, found, tmp_path, write_json):
    annotations, folder = drawn.write_coco(tmp_path, photos(24, 24), LABELS)
    content = json.loads(annotations.read_text())
    assert alarms(examine_source(read_coco(annotations, folder))) == []
    plant(content)
    findings = examine_source(read_coco(write_json(content), folder))
    assert key in {f.key for f in alarms(findings)} and found in report(findings).replace('\n           ', ' '), report(findings)


def test_records_that_state_another_size(sources, tmp_path):
    """As converters of other people leave them: boxes divided by the wrong sides."""
    folder = written(sources['train'], tmp_path / 'train')
    (file,) = folder.glob('*.tfrecord')
    examples = [tf.train.Example.FromString(s) for s in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for example in examples:
            feature = example.features.feature
            feature['image/height'].int64_list.value[:], feature['image/width'].int64_list.value[:] = [150], [100]
            writer.write(example.SerializeToString())
    found = [f for f in examine(folder, None, configured()) if f.key == 'picture size']
    assert 'height and width are swapped in 24 of 24 pictures' in found[0].found


@pytest.mark.parametrize('fault', ['no_boxes', 'all_crowds', 'ids_from_0'])
def test_training_stops_where_there_is_nothing_to_learn(fault, sources, healthy, tmp_path, capsys):
    folder = written(DATA_FAULTS[fault][0](sources['train']), tmp_path / 'train')
    with pytest.raises(DataError, match=re.escape(DATA_FAULTS[fault][3])):
        before_training(folder, healthy['val'], configured())
    assert f'ERROR    {DATA_FAULTS[fault][1]}: train' in capsys.readouterr().out


def test_training_goes_on_with_other_errors(healthy, capsys):
    before_training(healthy['train'], healthy['train'], configured())
    assert 'ERROR    train = val: all 24' in capsys.readouterr().out


def test_fit_asks_the_doctor_first(sources, tmp_path):
    empty = written(DATA_FAULTS['no_boxes'][0](sources['train']), tmp_path / 'train')
    with pytest.raises(DataError, match='no box in 24 pictures'):
        fit(configured(fpn_cell_repeats=1), empty, empty, tmp_path / 'run')


@pytest.mark.parametrize(('name', 'wanted'), [
    ('bccd', {'near duplicates: 1 of 87 pictures of val look the same as one of train, like image 214 and 19',
              'boxes left out: train: 1 of 2805 boxes', 'boxes left out: val: 1 of 1138 boxes',
              'anchors: anchor_scale 3.0, the anchors are too large'}),
    ('voc100', {'anchors: anchor_scale 3.0, the anchors are too large'})])
def test_real_data_have_their_real_flaws_and_no_others(name, wanted, real, tmp_path):
    """bccd: two boxes of zero size, BloodImage_00037 is 00038 again, and platelets are small at 320 pixels."""
    folder = real(name)
    train, valid = (written(read_coco(folder / f'annotations/{split}.json', folder / 'images'), tmp_path / split)
                    for split in ('train', 'val'))
    config = load_config('efficientdet-lite0', [label_overrides(train), {**SETTINGS, 'image_size': 320}])
    findings = alarms(examine(train, valid, config))
    assert all(f.severity == 'warning' for f in findings), report(findings)
    assert len(findings) == len(wanted) and all(any(f'{f.key}: {f.found}'.startswith(w) for f in findings) for w in wanted), \
        report(findings)
    larger = load_config(config, {'anchor_scale': 2.0} if name == 'bccd' else {'image_size': 640, 'anchor_scale': 2.0})
    assert not [f for f in alarms(examine(train, valid, larger, fast=True)) if f.key == 'anchors']


def test_the_report_has_the_worst_first_and_short_lines(healthy):
    text = report(examine(healthy['train'], None, configured(optimizer='sgd', learning_rate=9.), fast=True))
    assert text.startswith('doctor: 1 error, 1 warning, ')
    assert text.index('ERROR    empty val') < text.index('WARNING  learning rate') < text.index('NOTE ')
    assert all(len(line) <= 125 for line in text.splitlines())


def test_a_broken_picture_is_named(sources, tmp_path):
    folder = written(sources['val'], tmp_path / 'val')
    example = tf.train.Example()
    example.features.feature['image/encoded'].bytes_list.value.append(b'no picture')
    example.features.feature['image/source_id'].bytes_list.value.append(b'the-broken-one')
    with tf.io.TFRecordWriter(str(folder / 'x.tfrecord')) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(DataError, match='the-broken-one: cannot be read as a picture'):
        examine(folder, None, configured())


def test_the_drawn_batch_shows_boxes_on_objects_and_anchors_around_them(sources, tmp_path):
    """One red square: its drawn frame has the square inside, the yellow anchors overlap it, the rest of the sheet is free."""
    source = only(first(sources['train'], 1, lambda p: p), {1})
    source = dataclasses.replace(source, photos=source.photos[:1])
    folder = written(source, tmp_path / 'one')
    sheet = draw_batch(folder, configured(jitter_min=1.0, jitter_max=1.0, input_rand_hflip=False, image_size=128))
    factor = 632 / 150                                                               # the sheet leaves 4 pixels on each side
    ymin, xmin, ymax, xmax = source.photos[0].boxes[0] * factor + 4
    yellow = np.all(np.abs(sheet[:640, :640].astype(int) - ANCHOR_COLOR) < 60, -1)
    rows, columns = np.nonzero(yellow)
    assert len(rows) > 200
    side = ymax - ymin
    assert ymin - side < rows.min() and rows.max() < ymax + side and xmin - side < columns.min() and columns.max() < xmax + side
    frame = sheet[round(ymin) - 3:round(ymin) + 8, round((xmin + xmax) / 2)].astype(int)
    assert np.any(np.all(np.abs(frame - (255, 38, 38)) < 50, -1)), frame
