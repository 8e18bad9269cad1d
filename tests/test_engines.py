"""The table of docs/EXPORT.md: every engine finds what Keras finds, and programs without this
package read every file.

Engines that are not installed are skipped; `make test-engines` installs them.
"""

import importlib
import importlib.util
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import (
    Detector,
    export_onnx,
    export_openvino,
    export_savedmodel,
    export_tflite,
    load_config,
    read_labels,
)
from keras_efficientdet.export.openvino import CONVOLUTIONS
from keras_efficientdet.inference import engines
from keras_efficientdet.network.detector import detector
from keras_efficientdet.ops import images

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / 'examples'
SIZES = {'square': (100, 100), 'wide': (60, 140), 'tall': (130, 50)}
# (difference of scores, difference of boxes in pixels, part of the detections that must be found)
EXACT = (1e-4, 0.05, 1.0)
HALF = (2e-2, 1.0, 0.9)
# Images that do not have the network's size are rounded to uint8 once more, so that soft NMS may
# swap close scores.
FITTED = (2e-3, 0.2, 0.9)
TOLERANCES = {
    'savedmodel': EXACT,
    'onnx': EXACT,
    'openvino': EXACT,
    'tflite': EXACT,
    'tflite-float16': HALF,
}
PACKAGES = {'onnx': ('tf2onnx', 'onnxruntime'), 'openvino': ('openvino',)}
READERS = {
    'savedmodel': 'tensorflow',
    'tflite': 'ai_edge_litert',
    'onnx': 'onnxruntime',
    'openvino': 'openvino',
}
COMPILERS = {
    'tflite': ('keras_efficientdet.inference.engines.tflite', 'tflite_function'),
    'onnx': ('onnxruntime', 'InferenceSession'),
    'openvino': ('openvino', 'Core'),
}

RUN_ALONE = """
import runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0])
assert not [name for name in sys.modules if name.startswith('keras_efficientdet')]
"""


def needs(*packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed; `make test-engines` installs it')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('engines')


@pytest.fixture(scope='module', params=['lite0', pytest.param('d0', marks=pytest.mark.slow)])
def model(request):
    return request.getfixturevalue({'lite0': 'small_model', 'd0': 'small_d0'}[request.param])


@pytest.fixture(scope='module')
def in_keras(model):
    """The function uint8 [B, H, W, 3] -> {name: array} of Keras itself."""
    whole = detector(model)
    function = tf.function(
        lambda batch: whole(batch, training=False),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    return lambda batch: {k: v.numpy() for k, v in function(batch).items()}


@pytest.fixture(scope='module', params=list(TOLERANCES))
def exported(request, model, folder):
    """(engine, path of the file)"""
    name, engine = model.name, request.param
    needs(*PACKAGES.get(engine, ()))
    if engine == 'savedmodel':
        return engine, export_savedmodel(model, folder / name)
    if engine == 'onnx':
        return engine, export_onnx(model, folder / f'{name}.onnx')
    if engine == 'openvino':
        return engine, export_openvino(model, folder / f'{name}.xml')
    quantization = engine.partition('-')[2] or None
    return engine, export_tflite(
        model, folder / f'{name}-{engine}.tflite', quantization=quantization, nms='graph'
    )


@pytest.fixture(scope='module')
def run(exported):
    """The function uint8 [B, H, W, 3] -> {name: array} in pixels, whatever the engine."""
    return engines.load(exported[1])[0]


def batch_of(size, count, seed=0):
    """Noise with structure at several scales, another for each picture."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (count, 6, 6, 3)).astype(np.float32)
    fine = draw.normal(0, 25, (count, *size, 3))
    return np.clip(tf.image.resize(coarse, size).numpy() + fine, 0, 255).astype(np.uint8)


def _of_image(batch, i):
    """The arrays of image i without padding."""
    count = int(batch['count'][i])
    return {name: batch[name][i][:count] for name in ('boxes', 'scores', 'classes')}


def share_found(found, expected, i, score, pixels):
    """The part of image i's expected detections that `found` has as well."""
    a, b = _of_image(expected, i), _of_image(found, i)
    alike = (
        (a['classes'][:, None] == b['classes'][None])
        & (np.abs(a['scores'][:, None] - b['scores'][None]) <= score)
        & (np.abs(a['boxes'][:, None] - b['boxes'][None]).max(-1) <= pixels)
    )
    return alike.any(1).mean()


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('shape', SIZES)
def test_same_detections_as_keras(exported, run, model, in_keras, shape, count):
    engine, _ = exported
    batch = batch_of(SIZES[shape], count)
    if engine.startswith('tflite'):
        settings = model.detection_config.model
        batch = np.stack(
            [images.letterbox(p, settings.image_size, settings.mean_rgb)[0] for p in batch]
        )
    score, pixels, share = TOLERANCES[engine]
    found, expected = run(batch), in_keras(batch)
    assert np.min(expected['count']) > 10
    np.testing.assert_allclose(found['count'], expected['count'], atol=0 if share == 1 else 5)
    for i in range(len(batch)):
        assert share_found(found, expected, i, score, pixels) >= share
        assert share_found(expected, found, i, score, pixels) >= share
    if count > 1 and share == 1:
        assert share_found({k: v[::-1] for k, v in found.items()}, expected, 0, score, pixels) < 0.5


def test_one_detector_for_every_engine(exported, in_keras):
    engine, path = exported
    reader = Detector(path, batch_size=2)
    sizes = [(100, 100), (60, 140), (100, 100), (130, 50), (100, 100)]
    photos = [batch_of(size, 1, seed)[0] for seed, size in enumerate(sizes)]
    score, pixels, share = FITTED if engine == 'tflite' else TOLERANCES[engine]
    found, again = reader(photos), reader(photos[::-1])[::-1]
    for photo, one, same in zip(photos, found, again, strict=True):
        in_engine = {
            'count': [len(one)],
            'boxes': one.boxes[None],
            'scores': one.scores[None],
            'classes': one.classes[None],
        }
        expected = in_keras(photo[None])
        assert share_found(in_engine, expected, 0, score, pixels) >= share
        assert share_found(expected, in_engine, 0, score, pixels) >= share
        np.testing.assert_allclose(same.boxes, one.boxes, atol=1e-2)
        assert one.boxes.dtype == one.scores.dtype == np.float32 and one.classes.dtype == np.int32
        assert one.names == ('cat', 'dog', 'van') and one.ids == (1, 18, 400)
        assert np.all(one.boxes >= 0) and np.all(one.boxes <= np.tile(photo.shape[:2], 2))


def test_a_second_call_traces_and_compiles_nothing(exported, traces, monkeypatch):
    engine, path = exported
    reader = Detector(path, batch_size=2)
    reader(batch_of(SIZES['square'], 1))
    traced = list(traces)
    assert traced or engine != 'savedmodel'  # its functions are built while it is read
    if engine != 'savedmodel':
        module, name = COMPILERS[engine.partition('-')[0]]
        monkeypatch.setattr(importlib.import_module(module), name, None)
    for size in [*SIZES.values(), (33, 77)]:
        for count in (1, 2, 3):
            assert len(reader(batch_of(size, count))) == count
    assert traces == traced


def test_labels(exported, model):
    found = read_labels(exported[1])
    assert (found['model'], found['names'], found['ids']) == (
        model.name,
        ['cat', 'dog', 'van'],
        [1, 18, 400],
    )


def test_a_program_without_this_package_reads_it(exported, model, in_keras, tmp_path):
    engine, path = exported
    kind = engine.partition('-')[0]
    needs(READERS[kind])
    size = model.detection_config.model.image_size
    Image.fromarray(batch_of(size, 1)[0]).save(tmp_path / 'photo.png')
    command = [
        sys.executable,
        '-c',
        RUN_ALONE,
        EXAMPLES / f'read_{kind}.py',
        path,
        tmp_path / 'photo.png',
    ]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    expected = {k: v[0] for k, v in in_keras(batch_of(size, 1)).items()}
    score, pixels, _ = TOLERANCES[engine]
    assert abs(len(rows) - expected['count']) <= 5
    assert rows[0][1] == ('cat', 'dog', 'van')[expected['classes'][0]]
    assert abs(float(rows[0][2]) - expected['scores'][0]) < score + 1e-5
    np.testing.assert_allclose(
        np.array(rows[0][3:], float), expected['boxes'][0], atol=pixels + 1e-2
    )


def test_tflite_files_run_by_litert_where_it_is_installed(small_model, tmp_path, monkeypatch):
    needs('ai_edge_litert')
    path = export_tflite(small_model, tmp_path / 'x.tflite')
    monkeypatch.setattr(tf.lite, 'Interpreter', None)
    assert len(Detector(path)(batch_of((60, 140), 1)[0])[0]) > 10


def test_onnx_without_nms(small_model, tmp_path):
    needs('tf2onnx', 'onnxruntime')
    import onnx
    import onnxruntime

    path, batch = export_onnx(small_model, tmp_path / 'x.onnx', nms=False), batch_of((60, 140), 2)
    model = onnx.load(str(path))
    assert model.opset_import[0].version == 17 and {row.domain for row in model.opset_import} <= {
        '',
        'ai.onnx',
        'ai.onnx.ml',
    }
    assert not [node for node in model.graph.node if node.op_type == 'Loop']
    found = dict(
        zip(
            ['boxes', 'scores'],
            onnxruntime.InferenceSession(str(path)).run(['boxes', 'scores'], {'images': batch}),
            strict=True,
        )
    )
    unfiltered = load_config(small_model.detection_config, {'max_output_size': 1})
    expected = detector(small_model, unfiltered)(batch)
    with pytest.raises(ValueError, match='exported without NMS'):
        Detector(path)
    best = found['scores'].reshape(2, -1).argmax(1) // 3
    np.testing.assert_allclose(
        found['scores'].max((1, 2)), np.asarray(expected['scores'])[:, 0], atol=1e-4
    )
    for i in range(2):
        inside = np.clip(found['boxes'][i, best[i]], 0, (60, 140, 60, 140))
        np.testing.assert_allclose(inside, np.asarray(expected['boxes'])[i, 0], atol=1e-2)


def test_openvino_sorts_candidates_by_heap(small_model, tmp_path):
    needs('openvino')
    import openvino

    network = openvino.Core().read_model(export_openvino(small_model, tmp_path / 'x.xml'))
    (loop,) = (node for node in network.get_ops() if node.get_type_name() == 'Loop')
    nodes = [*network.get_ops(), *loop.get_function().get_ops()]
    sorts = [node for node in nodes if node.get_type_name() == 'TopK']
    assert len(sorts) >= 3 and not any(node.get_attributes()['stable'] for node in sorts)


def comes_before_a_convolution(node, seen=None):
    seen = set() if seen is None else seen
    for user in (to.get_node() for output in node.outputs() for to in output.get_target_inputs()):
        if user.get_friendly_name() not in seen:
            seen.add(user.get_friendly_name())
            if user.get_type_name() in CONVOLUTIONS or comes_before_a_convolution(user, seen):
                return True
    return False


def test_openvino_int8(small_model, tmp_path):
    needs('openvino', 'nncf')
    import openvino

    path = export_openvino(
        small_model,
        tmp_path / 'x.xml',
        quantization='int8',
        calibration=list(batch_of((96, 128), 4, 5)),
    )
    network = openvino.Core().read_model(path)  # without it nodes forget where they lead
    quantised = [
        node for node in network.get_ordered_ops() if node.get_type_name() == 'FakeQuantize'
    ]
    assert len(quantised) > 20 and all(comes_before_a_convolution(node) for node in quantised)
    whole = small_model.count_params() * 4
    assert path.with_suffix('.bin').stat().st_size < 0.5 * whole
    found = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})(
        batch_of((96, 128), 1)
    )
    expected = detector(small_model)(batch_of((96, 128), 1))
    assert abs(found['scores'][0, 0] - np.asarray(expected['scores'])[0, 0]) < 0.1


@pytest.mark.parametrize(
    ('package', 'export', 'ending'),
    [('tf2onnx', export_onnx, 'onnx'), ('openvino', export_openvino, 'xml')],
)
def test_a_missing_engine_is_named(small_model, tmp_path, monkeypatch, package, export, ending):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package} is needed .* pip install'):
        export(small_model, tmp_path / f'x.{ending}')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('package', 'extra', 'ending'),
    [('onnxruntime', 'onnx', 'onnx'), ('openvino', 'openvino', 'xml')],
)
def test_a_missing_engine_is_named_when_a_file_is_read(
    tmp_path, monkeypatch, package, extra, ending
):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f'x.{ending}'
    path.write_text('<net><rt_info><keras_efficientdet value="{}"/></rt_info></net>')
    with pytest.raises(
        ImportError, match=rf'{package} is needed .* pip install "keras-efficientdet\[{extra}\]"'
    ):
        Detector(path)


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / 'x.tflite').write_text('no labels')
    with pytest.raises(ValueError, match=r'x\.tflite: no labels of keras_efficientdet'):
        Detector(tmp_path / 'x.tflite')
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / 'x.keras')
    with pytest.raises(ValueError, match=r'x\.keras: a Keras model without detection_config'):
        Detector(tmp_path / 'x.keras')
