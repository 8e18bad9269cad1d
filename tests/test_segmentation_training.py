"""Both heads go through the whole library together: data, fit, evaluation, doctor, exports."""

import drawn
import numpy as np
import pytest
import tensorflow as tf
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
    read_coco,
    read_masks,
    write_records,
)
from keras_efficientdet.doctor import examine
from keras_efficientdet.evaluation.ensemble import mirrored
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.trained import load_trained

TRAINING = {
    'num_epochs': 30,
    'optimizer': 'adam',
    'learning_rate': 0.1,
    'weight_decay': 0.0,
    'jitter_min': 0.9,
    'jitter_max': 1.1,
}


def outlined(annotation):
    x, y, width, height = annotation['bbox']
    right, bottom = x + width, y + height
    return {**annotation, 'segmentation': [[x, y, right, y, right, bottom, x, bottom]]}


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentation')
    photos = [drawn.three_objects(i) for i in range(8)]
    photos = [(*size, [outlined(a) for a in annotations]) for *size, annotations in photos]
    source = read_coco(*drawn.write_coco(folder, photos, noise=15.0), masks=True)
    write_records(source, folder / 'records', progress=False)
    return folder / 'records'


ALONE = pytest.param('segmentation', marks=pytest.mark.slow)  # shorter: the test of PNG masks


@pytest.fixture(scope='module', params=['anchor+segmentation', ALONE])
def trained(request, records, tmp_path_factory):
    """The head, its Config, the folder that `fit` wrote, and its history."""
    config = little_config(records, {**TRAINING, 'head': request.param})
    folder = tmp_path_factory.mktemp('fit') / 'run'
    history = fit(config, str(records), str(records), folder, evaluate_every=15)
    return request.param, config, folder, history.history


def test_it_learns_its_masks(trained, records):
    head, config, folder, history = trained
    losses = history['segmentation_loss' if '+' in head else 'loss']
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.5 * losses[0]
    assert max(history['val_mIoU']) > 0.5
    model = load_trained(folder)
    found = evaluate(model, dataset(str(records), config, training=False), progress=False)
    # The best weights are those of the best AP, or of the best mIoU where there are no objects.
    best = 'AP' if '+' in head else 'mIoU'
    assert found[best] == pytest.approx(max(history[f'val_{best}']), abs=1e-3)
    assert list(found['IoU']) == ['background', 'cat', 'dog', 'van']
    assert 'mIoU' in (folder / 'report' / 'report.html').read_text()


def test_the_doctor_has_no_faults_to_report(trained, records):
    _, config, *_ = trained
    found = examine(str(records), str(records), config, skip=['splits.same'])
    severe = [finding for finding in found if finding.severity == 'error']
    assert not severe


def test_detectors_of_every_form_agree(trained, tmp_path):
    head, _, folder, _ = trained
    model = load_trained(folder, 'last.weights.h5')
    images = [drawn.noisy(drawn.picture(*drawn.three_objects(i)), 15.0, i) for i in range(2)]
    model.save(tmp_path / 'model.keras')
    export_savedmodel(model, tmp_path / 'saved')
    export_tflite(model, tmp_path / 'model.tflite', nms='graph')
    wanted = Detector(model)(images)
    for found, image in zip(wanted, images, strict=True):
        assert found.mask.shape == image.shape[:2] and found.mask.dtype == np.uint8
        assert set(np.unique(found.mask)) <= {0, 1, 2, 3} and np.any(found.mask)
        assert len(found) > 0 or '+' not in head
    # TFLite is given images of uint8 that were resized before, so it differs by rounding.
    for path, same in (('model.keras', 1.0), ('saved', 1.0), ('model.tflite', 0.98)):
        for ours, theirs in zip(wanted, Detector(tmp_path / path)(images), strict=True):
            assert np.mean(theirs.mask == ours.mask) >= same
            np.testing.assert_allclose(theirs.scores, ours.scores, atol=0.1)


def test_files_of_different_sizes_get_masks_of_their_own(trained, tmp_path):
    *_, folder, _ = trained
    model = load_trained(folder)
    saved = tf.saved_model.load(str(export_savedmodel(model, tmp_path / 'saved')))
    image = drawn.noisy(drawn.picture(*drawn.three_objects(0)), 15.0, 0)
    images = [image, image[:70, :90]]
    files = [tf.io.encode_png(one) for one in images]
    masks = saved.signatures['serving_bytes'](image_bytes=tf.stack(files))['mask'].numpy()
    assert masks.shape == (2, 100, 120)
    for mask, found in zip(masks, Detector(model)(images), strict=True):
        height, width = found.mask.shape
        np.testing.assert_array_equal(mask[:height, :width], found.mask)
        assert np.all(mask[height:] == 255) and np.all(mask[:, width:] == 255)


def test_a_mask_is_drawn_in_the_colours_of_its_classes(trained):
    *_, folder, _ = trained
    image = drawn.noisy(drawn.picture(*drawn.three_objects(0)), 15.0, 0)
    found = Detector(load_trained(folder))(image)[0]
    shown = draw(image, found, min_score=2.0)  # no box
    changed = np.any(shown != image, -1)
    assert np.all(changed[found.mask == 0] == 0) and np.mean(changed[found.mask > 0]) > 0.95


def test_the_mirrored_view_brings_masks_back(trained, records):
    _, config, folder, _ = trained
    model = load_trained(folder)
    detect = detect_batch(model, config)
    images, labels = next(iter(dataset(str(records), config, training=False)))
    symmetric = tf.concat([images, tf.reverse(images, [2])], 0)
    found = mirrored(detect)(symmetric, tf.tile(labels['scale'], [2]))
    plain = detect(symmetric, tf.tile(labels['scale'], [2]))
    half = len(images)
    np.testing.assert_array_equal(found['mask'][:half], plain['mask'][half:, :, ::-1])


def test_images_with_png_masks_alone_are_trained_on(tmp_path):
    """Without a box anywhere, and with names that only the masks use."""
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
    for i in range(8):
        height, width, annotations = drawn.three_objects(i)
        mask = np.zeros((height, width), np.uint8)
        x, y, w, h = annotations[0]['bbox']
        mask[y : y + h, x : x + w] = 7
        image = drawn.noisy(drawn.picture(height, width, annotations), 15.0, i)
        Image.fromarray(image).save(tmp_path / 'images' / f'{i}.png')
        Image.fromarray(mask).save(tmp_path / 'masks' / f'{i}.png')
    source = read_masks(tmp_path / 'images', tmp_path / 'masks', {7: 'cat'})
    write_records(source, tmp_path / 'records', progress=False)
    training = {**TRAINING, 'num_epochs': 2, 'head': 'segmentation'}
    config = little_config(tmp_path / 'records', training)
    found = examine(str(tmp_path / 'records'), None, config, skip=['splits'])
    assert {f.id for f in found} == {'settings.learning_rate', 'settings.few_steps'}
    history = fit(config, str(tmp_path / 'records'), source, tmp_path / 'run').history
    assert np.isfinite(history['val_mIoU'][-1]) and np.isnan(history['val_AP'][-1])
    assert (tmp_path / 'run' / 'report' / 'report.html').is_file()
