"""Key points go through the whole library: records, fit, evaluation, doctor, exports, pictures."""

import drawn
import numpy as np
import pytest
from little import little_config
from PIL import Image

from keras_efficientdet import (
    Detector,
    dataset,
    draw,
    evaluate,
    export_savedmodel,
    export_tflite,
    fit,
    read_key_points,
    write_records,
)
from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.batch import draw_batch
from keras_efficientdet.network.trained import load_trained

NAMES = {1: 'left_corner', 2: 'middle', 3: 'right_corner'}
TRAINING = {
    'head': 'points',
    'num_epochs': 30,
    'optimizer': 'adam',
    'learning_rate': 0.1,
    'weight_decay': 0.0,
    'jitter_min': 0.9,
    'jitter_max': 1.1,
}


@pytest.fixture(scope='module')
def images():
    return [drawn.noisy(drawn.picture(*drawn.three_objects(i)), 15.0, i) for i in range(8)]


@pytest.fixture(scope='module')
def records(images, tmp_path_factory):
    """Of each red box the upper corners, of each blue one the middle."""
    folder = tmp_path_factory.mktemp('points')
    lines = ['image,class,x,y']
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{i}.png')
        _, _, (first, _, third) = drawn.three_objects(i)
        x, y, width, _ = first['bbox']
        lines += [f'{i}.png,left_corner,{x},{y}', f'{i}.png,right_corner,{x + width},{y}']
        x, y, width, height = third['bbox']
        lines.append(f'{i}.png,middle,{x + width / 2},{y + height / 2}')
    (folder / 'points.csv').write_text('\n'.join(lines))
    source = read_key_points(folder / 'points.csv', folder, NAMES)
    write_records(source, folder / 'records', progress=False)
    return folder / 'records'


WHOLE = pytest.param('image', marks=pytest.mark.slow)  # its graph: test_points.py


@pytest.fixture(scope='module', params=['level', WHOLE])
def trained(request, records, tmp_path_factory):
    """The Config, the folder that `fit` wrote, and its history."""
    each = {'level': 1, 'image': 3}[request.param]
    cells = {'point_cells': request.param, 'points_per_cell': each}
    config = little_config(records, {**TRAINING, **cells})
    folder = tmp_path_factory.mktemp('fit') / 'run'
    history = fit(config, str(records), str(records), folder, evaluate_every=15)
    return config, folder, history.history


def test_it_learns_its_points(trained, records):
    config, folder, history = trained
    losses = history['loss']
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.7 * losses[0]
    model = load_trained(folder)
    found = evaluate(model, dataset(str(records), config, training=False), progress=False)
    assert found['PCK'] == pytest.approx(max(history['val_PCK']), abs=1e-3)
    assert found['mean_error'] < 0.4 and 0.0 <= found['AP'] <= 1.0
    assert 'PCK' in (folder / 'report' / 'report.html').read_text()


def test_the_doctor_and_its_picture_take_points_as_they_are(trained, records):
    config, *_ = trained
    found = examine(str(records), str(records), config, skip=['splits.same'])
    assert not [f for f in found if f.severity == 'error' or f.id.startswith('anchors')]
    assert draw_batch(str(records), config).ndim == 3


def test_every_augmentation_keeps_points(records):
    settings = {
        'mosaic_prob': 0.5,
        'mixup_prob': 0.2,
        'autoaugment_policy': 'v3',
        'input_rand_vflip': True,
    }
    config = little_config(records, {**TRAINING, **settings})
    counts = [
        np.sum(targets['points'].numpy()[..., 2])
        for _ in range(5)
        for _, targets, _ in dataset(str(records), config, training=True)
    ]
    assert min(counts) >= 0 and np.mean(counts) > 4  # of 12 in each batch, and of mosaics more


def test_detectors_of_every_form_agree(trained, images, tmp_path):
    model = load_trained(trained[1], 'last.weights.h5')
    model.save(tmp_path / 'model.keras')
    export_savedmodel(model, tmp_path / 'saved')
    export_tflite(model, tmp_path / 'model.tflite', nms='graph')
    wanted = Detector(model)(images[:2])
    for found in wanted:
        assert len(found) > 0
        np.testing.assert_array_equal(found.boxes[:, :2], found.boxes[:, 2:])
        np.testing.assert_array_equal(found.points, found.boxes[:, :2])
    # TFLite is given images of uint8 that were resized before, so it differs by rounding.
    for path, tolerance in (('model.keras', 1e-4), ('saved', 1e-4), ('model.tflite', 0.1)):
        for ours, theirs in zip(wanted, Detector(tmp_path / path)(images[:2]), strict=True):
            np.testing.assert_allclose(theirs.scores, ours.scores, atol=tolerance)
            if tolerance < 0.01:
                np.testing.assert_allclose(theirs.points, ours.points, atol=0.05)


def test_points_are_drawn_as_dots(images):
    class Found:
        boxes = np.float32([[30, 50, 30, 50]])
        scores = np.float32([0.9])
        classes = np.int32([0])
        names = ('',)

    marked = np.any(draw(images[0], Found(), names=['x']) != images[0], -1)
    assert marked[30, 50] and marked[28:33, 48:53].all() and not marked[60:, :].any()
