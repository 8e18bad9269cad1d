"""TFLite files: what readers on phones expect, the boxes of Keras, labels and metadata inside."""

import csv
import os
import struct
import sys
import zipfile

import damaged
import drawn
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.lite.python import schema_py_generated as schema

from keras_efficientdet import DataError, Detector, export_tflite, read_labels
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.export.calibration import calibration_images, quantization_report
from keras_efficientdet.export.tflite import (
    OUTPUTS,
    operator_settings,
    tflite_detect,
    tflite_function,
    usable_threads,
)
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.ops import images

SIZE = np.array([96, 128, 96, 128], np.float32)


@pytest.fixture(scope='module')
def with_op(small_model, tmp_path_factory):
    return export_tflite(small_model, tmp_path_factory.mktemp('tflite') / 'op.tflite')


@pytest.fixture
def picture(pictures, small_config):
    return images.letterbox(pictures[1], (96, 128), small_config.model.mean_rgb)[0][None]


def test_four_outputs_in_the_order_of_the_operator(with_op, picture):
    found = tflite_function(with_op)(picture)
    assert tuple(found) == OUTPUTS == ('boxes', 'classes', 'scores', 'count')
    assert {k: v.shape for k, v in found.items()} == {
        'boxes': (1, 100, 4),
        'classes': (1, 100),
        'scores': (1, 100),
        'count': (1,),
    }
    assert {v.dtype for v in found.values()} == {np.dtype(np.float32)}
    assert found['count'][0] > 10 and np.all(np.diff(found['scores'][0, :10]) <= 0)
    assert found['boxes'][0, 0].min() > -1 and found['boxes'][0, 0].max() < 2


def test_the_operator_is_hard_nms_of_the_same_boxes(with_op, small_model, small_config, picture):
    hard = operator_settings(small_config)
    assert hard.detect.max_nms_inputs == 3 * small_model.output['boxes'].shape[1]
    found = tflite_function(with_op)(picture)
    expected = {
        k: np.asarray(v)
        for k, v in detect_batch(small_model, hard)(
            *images.prepare(
                picture, (96, 128), small_config.model.mean_rgb, small_config.model.stddev_rgb
            )
        ).items()
    }
    assert found['count'] == expected['count'] > 10
    np.testing.assert_allclose(found['scores'], expected['scores'], atol=1e-4)
    np.testing.assert_array_equal(found['classes'], expected['classes'])
    np.testing.assert_allclose(
        np.clip(found['boxes'] * SIZE, 0, SIZE), expected['boxes'], atol=1e-2
    )


def test_labels_and_metadata_are_in_the_file(with_op, small_config):
    with zipfile.ZipFile(with_op) as inside:
        assert inside.read('labels.txt').decode().splitlines() == ['cat', 'dog', 'van']
    assert read_labels(with_op)['ids'] == [1, 18, 400] and read_labels(with_op)['image_size'] == [
        96,
        128,
    ]
    content = with_op.read_bytes()
    start = content.index(b'M001') - 4
    assert (
        content[start - 64 : start].rstrip(b'\0') != b''
        and struct.unpack_from('<I', content, start)[0] < 4096
    )
    for text in (
        b'TFLITE_METADATA',
        b'location',
        b'category',
        b'score',
        b'number of detections',
        b'labels.txt',
    ):
        assert text in content


def test_weights_are_aligned(with_op):
    model = schema.Model.GetRootAs(with_op.read_bytes())
    tables = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(starts) > 100 and {start % 16 for start in starts} == {0}


def test_int8_is_smaller_and_close(with_op, small_model, small_config, pictures, tmp_path):
    path = export_tflite(
        small_model, tmp_path / 'int8.tflite', quantization='int8', calibration=pictures
    )
    assert path.stat().st_size < 0.4 * with_op.stat().st_size
    picture = images.letterbox(pictures[0], (96, 128), small_config.model.mean_rgb)[0][None]
    found, expected = tflite_function(path)(picture), tflite_function(with_op)(picture)
    assert abs(found['scores'][0, 0] - expected['scores'][0, 0]) < 0.15
    folder = drawn.records(
        tmp_path / 'records', [(80, 120, [drawn.box(10, 10, 40, 50, 1)]), (60, 70, [])]
    )
    functions = {
        'Keras': detect_batch(small_model, small_config),
        'int8': tflite_detect(path, small_config),
    }
    data = dataset(folder, small_config, training=False)
    rows = quantization_report(functions, data, small_config, tmp_path / 'report.csv')
    assert [row['form'] for row in rows] == ['Keras', 'int8'] and rows[0]['lost AP'] == 0
    with open(tmp_path / 'report.csv', newline='') as file:
        assert [row['AP'] for row in csv.DictReader(file)] == [
            str(round(row['AP'], 4)) for row in rows
        ]


def moved_by(pixels):
    """Finds the box 10 10 60 50 in each picture, moved down: what `evaluate` takes."""

    def detect(prepared, _):
        found = {
            'boxes': [[10.0 + pixels, 10.0, 60.0 + pixels, 50.0]],
            'scores': [0.9],
            'classes': [0],
            'count': 1,
        }
        return {
            name: tf.stack([tf.constant(value)] * len(prepared)) for name, value in found.items()
        }

    return detect


def test_lost_ap_is_held_against_the_named_form(small_config, tmp_path):
    """Overlaps of 1, .82 and .43: AP 1, .7 (seven of ten thresholds) and 0."""
    folder = drawn.records(tmp_path / 'records', [(80, 120, [drawn.box(10, 10, 40, 50, 1)])] * 2)
    forms = {'exact': moved_by(0), 'near': moved_by(5), 'far': moved_by(20)}
    for against, lost in ((None, [0, 0.3, 1]), ('near', [-0.3, 0, 0.7])):
        data = dataset(folder, small_config, training=False)
        rows = quantization_report(forms, data, small_config, tmp_path / 'report.csv', against)
        np.testing.assert_allclose([row['lost AP'] for row in rows], lost, atol=1e-6)


def test_boxes_are_cut_to_the_input(with_op, small_config, picture):
    model, raw = small_config.model, tflite_function(with_op)(picture)['boxes']
    assert raw.min() < 0 or raw.max() > 1
    prepared = tf.constant((picture - np.float32(model.mean_rgb)) / np.float32(model.stddev_rgb))
    cut = tflite_detect(with_op, small_config)(prepared, tf.constant([2.0]))['boxes']
    np.testing.assert_allclose(cut, np.clip(raw, 0, 1) * SIZE * 2, atol=1e-3)


@pytest.mark.parametrize('by_affinity', [True, False])
@pytest.mark.parametrize('nms', ['graph', 'op'])
def test_all_usable_cores_are_used_where_the_operator_bears_it(
    small_model, tmp_path, monkeypatch, nms, by_affinity
):
    path = export_tflite(small_model, tmp_path / 'x.tflite', nms=nms)
    if by_affinity:
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 5}, raising=False)
    else:
        monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
        monkeypatch.setattr(os, 'cpu_count', lambda: 3)
    assert usable_threads(path) == (3 if nms == 'graph' else 1)


def test_a_detector_loses_no_class_of_the_operator(with_op, picture, monkeypatch):
    one = tflite_function(with_op)(picture)
    assert 2 in one['classes']  # at two threads the operator of TensorFlow 2.15 and 2.21 loses it
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1}, raising=False)
    assert set(Detector(with_op)(picture)[0].classes) == set(one['classes'][0])


def test_int8_of_a_d_model_warns(small_d0, tmp_path):
    with (
        pytest.warns(UserWarning, match=r'int8 is meant for the lite models; efficientdet-d0'),
        pytest.raises(ValueError, match='the calibration set holds no image'),
    ):
        export_tflite(small_d0, tmp_path / 'd0.tflite', quantization='int8', calibration=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'quantization': 'int4'}, "'int4': expected one of"),
        ({'nms': 'soft'}, "expected 'op' or 'graph'"),
        ({'quantization': 'int8'}, 'int8 needs `calibration`'),
        ({'calibration': ['a.jpg']}, 'int8 needs `calibration`'),
        (
            {'quantization': 'int8', 'calibration': ['a.jpg'], 'nms': 'graph'},
            "int8 needs nms='op'",
        ),
    ],
)
def test_arguments_that_do_not_go(small_model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_tflite(small_model, tmp_path / 'x.tflite', **arguments)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_do_not_go(small_model, tmp_path):
    (tmp_path / 'there.tflite').write_text('kept')
    with pytest.raises(FileExistsError, match=r'there\.tflite exists'):
        export_tflite(small_model, tmp_path / 'there.tflite')
    with pytest.raises(ValueError, match=r'x\.lite: expected a path that ends in \.tflite'):
        export_tflite(small_model, tmp_path / 'x.lite')
    assert (tmp_path / 'there.tflite').read_text() == 'kept'
    with pytest.raises(ValueError, match='no labels of keras_efficientdet'):
        read_labels(tmp_path / 'there.tflite')
    with pytest.raises(FileNotFoundError, match='no such export'):
        read_labels(tmp_path / 'nowhere.onnx')


def test_calibration_images_of_records_are_those_of_the_photos(small_config, tmp_path):
    photos = [(80, 120, [drawn.box(10, 10, 40, 50, 1)]), (60, 70, [])]
    folder = drawn.records(tmp_path, photos)
    found = calibration_images(folder, small_config)
    expected = calibration_images([drawn.picture(*photo) for photo in photos], small_config)
    assert len(found) == 2 and all(p.shape == (96, 128, 3) and p.dtype == np.uint8 for p in found)
    assert {p.tobytes() for p in found} == {p.tobytes() for p in expected}


def test_calibration_images_of_a_folder_of_pictures(small_config, pictures, tmp_path):
    for name, picture in zip(('b.png', 'a.PNG'), pictures, strict=False):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / 'c.jpg').write_bytes(damaged.jpeg(pictures[2]))
    (tmp_path / 'notes.txt').write_text('no picture')
    found = calibration_images(tmp_path, small_config)
    expected = calibration_images([pictures[1], pictures[0], tmp_path / 'c.jpg'], small_config)
    assert len(found) == 3 and all(
        np.array_equal(a, b) for a, b in zip(found, expected, strict=True)
    )
    upright = calibration_images([np.rot90(pictures[2], -1)], small_config)[0].astype(int)
    assert np.abs(found[2] - upright).mean() < 5 < np.abs(found[2][::-1] - upright).mean()


def test_a_folder_without_records_and_pictures_is_named(small_config, tmp_path):
    for _ in range(2):
        with pytest.raises(DataError, match='neither TFRecord files nor images'):
            calibration_images(tmp_path, small_config)
        (tmp_path / 'notes.txt').write_text('no picture')


def test_labels_of_onnx_name_the_extra(tmp_path, monkeypatch):
    (tmp_path / 'x.onnx').write_text('x')
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(
        ImportError, match=r'onnx is needed .* pip install "keras-efficientdet\[onnx\]"'
    ):
        read_labels(tmp_path / 'x.onnx')
