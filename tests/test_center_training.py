"""CenterNet goes through the whole library without a line of its own outside of its head."""

import drawn
import numpy as np
import pytest
from little import little_config

from keras_efficientdet import (
    Detector,
    dataset,
    evaluate,
    export_savedmodel,
    export_tflite,
    fit,
)
from keras_efficientdet.doctor import examine
from keras_efficientdet.network.trained import load_trained


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp('center')
    return drawn.records(folder, [drawn.three_objects(i) for i in range(8)], noise=15.0)


@pytest.fixture(scope='module')
def config(records):
    settings = {'head': 'center', 'fpn_name': 'upsampling', 'min_level': 2, 'fpn_num_filters': 8}
    training = {'num_epochs': 12, 'optimizer': 'adam', 'learning_rate': 0.1, 'weight_decay': 0.0}
    return little_config(records, {**settings, **training, 'jitter_min': 0.9, 'jitter_max': 1.1})


@pytest.fixture(scope='module')
def trained(records, config, tmp_path_factory):
    """The folder that `fit` wrote, and its history."""
    folder = tmp_path_factory.mktemp('center_fit') / 'run'
    return folder, fit(config, str(records), str(records), folder, evaluate_every=12)


def test_weights_count_the_objects(records, config):
    (_, targets, weights), *_ = dataset(str(records), config, training=True).take(1)
    objects = np.sum(targets['size'].numpy()[..., 2])
    assert 1 <= objects <= 12
    for weight in weights.values():
        np.testing.assert_allclose(weight, np.full(4, 1 / objects), rtol=1e-6)


def test_it_trains_and_is_evaluated(trained, records, config):
    folder, history = trained
    losses = history.history['loss']
    assert {'heat_loss', 'size_loss', 'offset_loss', 'val_AP'} <= set(history.history)
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.9 * losses[0]
    assert (folder / 'report' / 'report.html').is_file()
    model = load_trained(folder, 'last.weights.h5')
    found = evaluate(model, dataset(str(records), config, training=False), progress=False)
    assert 0.0 <= found['AP'] <= 1.0
    ids = {finding.id for finding in examine(str(records), str(records), config)}
    assert not [name for name in ids if name.startswith('anchors')]


def test_detectors_of_every_form_agree(trained, tmp_path):
    model = load_trained(trained[0], 'last.weights.h5')
    images = [drawn.noisy(drawn.picture(*drawn.three_objects(i)), 40.0, i) for i in range(2)]
    model.save(tmp_path / 'model.keras')
    export_savedmodel(model, tmp_path / 'saved')
    export_tflite(model, tmp_path / 'model.tflite', nms='graph')
    wanted = Detector(model)(images)
    assert all(len(found.scores) for found in wanted)
    # TFLite is given images of uint8 that were resized before, so it differs by rounding.
    for path, tolerance in (('model.keras', 1e-4), ('saved', 1e-4), ('model.tflite', 0.1)):
        for ours, theirs in zip(wanted, Detector(tmp_path / path)(images), strict=True):
            np.testing.assert_allclose(theirs.scores, ours.scores, atol=tolerance)
            if tolerance < 0.01:
                np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=0.05)
