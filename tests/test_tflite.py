"""TFLite files: the contract of phone readers, the same boxes as Keras, labels and metadata in the file."""
import csv
import struct
import zipfile

import drawn
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from keras_efficientdet import export_tflite, images, load_config, read_labels
from keras_efficientdet.data import dataset
from keras_efficientdet.export.calibration import calibration_pictures, quantization_report
from keras_efficientdet.export.tflite import OUTPUTS, tflite_detect, tflite_function
from keras_efficientdet.models import detect_batch

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
        'boxes': (1, 100, 4), 'classes': (1, 100), 'scores': (1, 100), 'count': (1,)}
    assert {v.dtype for v in found.values()} == {np.dtype(np.float32)}
    assert found['count'][0] > 10 and np.all(np.diff(found['scores'][0, :10]) <= 0)
    assert found['boxes'][0, 0].min() > -1 and found['boxes'][0, 0].max() < 2


def test_the_operator_is_hard_nms_of_the_same_boxes(with_op, small_model, small_config, picture):
    hard = load_config(small_config, {'method': 'hard', 'max_nms_inputs': 10 ** 5})
    found = tflite_function(with_op)(picture)
    expected = {k: np.asarray(v) for k, v in detect_batch(small_model, hard)(*images.prepare(
        picture, (96, 128), small_config.model.mean_rgb, small_config.model.stddev_rgb)).items()}
    assert found['count'] == expected['count'] > 10
    np.testing.assert_allclose(found['scores'], expected['scores'], atol=1e-4)
    np.testing.assert_array_equal(found['classes'], expected['classes'])
    np.testing.assert_allclose(np.clip(found['boxes'] * SIZE, 0, SIZE), expected['boxes'], atol=1e-2)


def test_labels_and_metadata_are_in_the_file(with_op, small_config):
    with zipfile.ZipFile(with_op) as inside:
        assert inside.read('labels.txt').decode().splitlines() == ['cat', 'dog', 'van']
    assert read_labels(with_op)['ids'] == [1, 18, 400] and read_labels(with_op)['image_size'] == [96, 128]
    content = with_op.read_bytes()
    start = content.index(b'M001') - 4
    assert content[start - 64:start].rstrip(b'\0') != b'' and struct.unpack_from('<I', content, start)[0] < 4096
    for text in (b'TFLITE_METADATA', b'location', b'category', b'score', b'number of detections', b'labels.txt'):
        assert text in content


def test_weights_are_aligned(with_op):
    model = schema.Model.GetRootAs(with_op.read_bytes())
    tables = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(starts) > 100 and {start % 16 for start in starts} == {0}


def test_int8_is_smaller_and_close(with_op, small_model, small_config, pictures, tmp_path):
    path = export_tflite(small_model, tmp_path / 'int8.tflite', quantization='int8', calibration=pictures)
    assert path.stat().st_size < 0.4 * with_op.stat().st_size
    picture = images.letterbox(pictures[0], (96, 128), small_config.model.mean_rgb)[0][None]
    found, expected = tflite_function(path)(picture), tflite_function(with_op)(picture)
    assert abs(found['scores'][0, 0] - expected['scores'][0, 0]) < 0.15
    folder = drawn.records(tmp_path / 'records', [(80, 120, [drawn.box(10, 10, 40, 50, 1)]), (60, 70, [])])
    functions = {'Keras': detect_batch(small_model, small_config), 'int8': tflite_detect(path, small_config)}
    data = dataset(folder, small_config, training=False)
    rows = quantization_report(functions, data, small_config, tmp_path / 'report.csv')
    assert [row['form'] for row in rows] == ['Keras', 'int8'] and rows[0]['lost AP'] == 0
    with open(tmp_path / 'report.csv', newline='') as file:
        assert [row['AP'] for row in csv.DictReader(file)] == [str(round(row['AP'], 4)) for row in rows]


def test_int8_of_a_d_model_warns(small_d0, tmp_path):
    with (pytest.warns(UserWarning, match=r'int8 is meant for the lite models; efficientdet-d0'),
          pytest.raises(ValueError, match='no picture')):
        export_tflite(small_d0, tmp_path / 'd0.tflite', quantization='int8', calibration=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('arguments', 'message'), [
    ({'quantization': 'int4'}, "'int4': expected one of"), ({'nms': 'soft'}, "expected 'op' or 'graph'"),
    ({'quantization': 'int8'}, 'int8 needs `calibration`'), ({'calibration': ['a.jpg']}, 'int8 needs `calibration`'),
    ({'quantization': 'int8', 'calibration': ['a.jpg'], 'nms': 'graph'}, "int8 goes with nms='op'")])
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


def test_calibration_pictures_of_records_are_those_of_the_photos(small_config, tmp_path):
    photos = [(80, 120, [drawn.box(10, 10, 40, 50, 1)]), (60, 70, [])]
    folder = drawn.records(tmp_path, photos)
    found = calibration_pictures(folder, small_config)
    expected = calibration_pictures([drawn.picture(*photo) for photo in photos], small_config)
    assert len(found) == 2 and all(p.shape == (96, 128, 3) and p.dtype == np.uint8 for p in found)
    assert {p.tobytes() for p in found} == {p.tobytes() for p in expected}
