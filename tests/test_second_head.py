"""A head outside of the library goes through all of it: its file and a row of HEADS are enough."""

import drawn
import keras
import numpy as np
import pytest
import second_head
import tensorflow as tf
from little import little_config

from keras_efficientdet import (
    Detector,
    dataset,
    detector,
    efficientdet,
    evaluate,
    export_onnx,
    export_savedmodel,
    export_tflite,
    fit,
)
from keras_efficientdet.config.choices import HEADS
from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.batch import draw_batch
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.evaluation import numpy_nms
from keras_efficientdet.export.tflite import operator_settings
from keras_efficientdet.network.trained import load_trained

OUTPUTS = {'score', 'where'}


@pytest.fixture(scope='module', autouse=True)
def _row():
    HEADS['cell'] = second_head.HEAD
    yield
    del HEADS['cell']


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp('second_head')
    return drawn.records(folder, [drawn.three_objects(i) for i in range(8)], noise=15.0)


@pytest.fixture(scope='module')
def config(records):
    return little_config(records, {'head': 'cell', 'num_epochs': 1})


@pytest.fixture(scope='module')
def trained(records, config, tmp_path_factory):
    """The folder that `fit` wrote in two steps, and its history."""
    folder = tmp_path_factory.mktemp('second_fit') / 'run'
    history = fit(config, str(records), str(records), folder)
    return folder, history


@pytest.fixture(scope='module')
def model(config):
    """A network whose scores depend on the image: all weights drawn anew, norms from noise."""
    keras.utils.set_random_seed(3)
    network = efficientdet(config)
    noise = np.random.default_rng(0).normal(size=(4, *config.model.image_size, 3))
    for layer in network.layers:
        if hasattr(layer, 'momentum'):
            layer.momentum = 0.0
    network(noise.astype(np.float32), training=True)
    return network


@pytest.fixture(scope='module')
def images():
    return [drawn.noisy(drawn.picture(*drawn.three_objects(i)), 40.0, i) for i in range(2)]


def test_batches_have_the_targets_of_the_head(records, config):
    (batch, targets, weights), *_ = dataset(str(records), config, training=True).take(1)
    assert set(targets) == set(weights) == OUTPUTS
    positives = second_head.positives(targets)
    assert 0 < positives <= 3 * len(batch)
    for weight in weights.values():
        np.testing.assert_allclose(weight, np.full(len(batch), 1 / (1 + positives)), rtol=1e-6)


def test_perfect_outputs_are_the_ground_truth(config):
    boxes = np.array([[10, 12, 60, 50], [70, 80, 110, 120]], np.float32)
    targets, positives = second_head.HEAD.targets(config)(boxes, np.array([2, 0]))
    assert int(positives) == 2
    logits = 20.0 * tf.one_hot(targets['score'], 3) - 10.0
    outputs = {'score': logits[None], 'where': targets['where'][None]}
    found, scores, classes, _ = second_head.HEAD.detect(outputs, config)
    strong = scores[0].numpy() > 0.5
    order = np.argsort(classes[0].numpy()[strong])
    np.testing.assert_allclose(found[0].numpy()[strong][order], boxes[::-1], atol=1e-3)


def test_fit_trains_and_evaluates_it(trained):
    folder, history = trained
    assert {'loss', 'score_loss', 'where_loss', 'val_AP'} <= set(history.history)
    assert np.isfinite(history.history['loss'][0])
    assert (folder / 'report' / 'report.html').is_file()
    again = load_trained(folder, 'last.weights.h5')
    for ours, theirs in zip(history.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluate_takes_it(records, config, model):
    found = evaluate(model, dataset(str(records), config, training=False), progress=False)
    assert 0.0 <= found['AP'] <= 1.0 and set(found['per_class']) == set(drawn.LABELS.values())


def test_the_doctor_leaves_anchors_out(records, config):
    found = examine(str(records), str(records), config)
    assert not [finding for finding in found if finding.id.startswith('anchors')]
    sheet = draw_batch(str(records), config, 4)
    assert sheet.ndim == 3 and sheet.dtype == np.uint8


def test_a_keras_file_gives_equal_detections(config, model, images, tmp_path):
    model.save(tmp_path / 'model.keras')
    again = keras.models.load_model(tmp_path / 'model.keras', compile=False)
    assert again.detection_config == config
    batch = np.stack(images)
    ours, theirs = detector(model)(batch), detector(again)(batch)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])
    assert np.all(ours['count'].numpy() > 0)


def test_detectors_of_every_form_agree(config, model, images, tmp_path):
    model.save(tmp_path / 'model.keras')
    export_savedmodel(model, tmp_path / 'saved')
    export_tflite(model, tmp_path / 'model.tflite', nms='graph')
    wanted = Detector(model)(images)
    assert all(len(found.scores) for found in wanted)
    # TFLite is given images of uint8 that were resized before, so it differs by rounding.
    for path, tolerance in (('model.keras', 1e-4), ('saved', 1e-4), ('model.tflite', 0.1)):
        found = Detector(tmp_path / path)(images)
        for ours, theirs in zip(wanted, found, strict=True):
            assert theirs.names == tuple(drawn.LABELS.values())
            np.testing.assert_allclose(theirs.scores, ours.scores, atol=tolerance)
    raw = tf.saved_model.load(str(tmp_path / 'saved' / '1')).signatures['raw']
    prepared = np.zeros((1, *config.model.image_size, 3), np.float32)
    assert set(raw(images=tf.constant(prepared))) == OUTPUTS


def test_what_needs_anchors_is_refused(config, model, tmp_path):
    with pytest.raises(ValueError, match=r"'cell' has none; choose nms='graph'"):
        export_tflite(model, tmp_path / 'model.tflite')
    with pytest.raises(ValueError, match=r"'cell' has none; choose nms='graph'"):
        operator_settings(config)
    with pytest.raises(ConfigError, match=r"head 'cell' has none; leave --numpy_nms out"):
        numpy_nms.detect_batch(model, config)
    assert not list(tmp_path.iterdir())


def test_onnx_without_nms_is_refused(model, tmp_path):
    pytest.importorskip('tf2onnx')
    with pytest.raises(ValueError, match=r"'cell' has no anchors; choose nms=True"):
        export_onnx(model, tmp_path / 'model.onnx', nms=False)
