"""Fusing detections: official output, hand-made cases, and the mirror."""

import numpy as np
import official
import pytest
from test_nms import candidates_of, cases
from test_numpy_nms import by_rows

from keras_efficientdet.evaluation import ensemble
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.heads import anchor as anchor_head
from keras_efficientdet.ops import numpy_nms
from keras_efficientdet.ops.box_fusion import weighted_box_fusion


def test_official_fusion(golden):
    arrays = golden('func/wbf.npz')
    rows = arrays['detections']
    boxes, scores, classes = weighted_box_fusion(
        by_rows(rows[:, 1:5]), rows[:, 5], rows[:, 6].astype(int), 3
    )
    np.testing.assert_allclose(by_rows(boxes), arrays['ensembled'][:, 1:5], atol=1e-4)
    np.testing.assert_allclose(scores, arrays['ensembled'][:, 5], atol=1e-6)
    np.testing.assert_array_equal(classes, arrays['ensembled'][:, 6])


def test_every_class_is_fused():
    """The official code loops over ids 0..num_classes-1 of 1-based ids: the last class is lost."""
    boxes = np.tile(np.float32([[0, 0, 10, 10]]), (6, 1))
    found = weighted_box_fusion(boxes, np.full(6, 0.5, np.float32), np.arange(6), 1)
    assert sorted(found[2].tolist()) == list(range(6))


def test_by_hand():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 14], [50, 50, 60, 60], [0, 0, 10, 10]])
    found = weighted_box_fusion(boxes, np.float32([0.9, 0.3, 0.8, 0.4]), np.array([1, 1, 1, 2]), 2)
    np.testing.assert_allclose(
        found[0], [[0, 0, 10, 11], [50, 50, 60, 60], [0, 0, 10, 10]], atol=1e-5
    )
    np.testing.assert_allclose(
        found[1], [0.6, 0.4, 0.2], rtol=1e-6
    )  # alone among two detectors counts half
    np.testing.assert_array_equal(found[2], [1, 1, 2])


def test_nothing_to_fuse():
    boxes, scores, classes = weighted_box_fusion(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 2)
    assert boxes.shape == (0, 4) and scores.shape == classes.shape == (0,)


def test_one_detector_alone_is_itself_and_twice_too():
    """Detections that do not overlap one another come back as they went in."""
    rng, corner = (
        np.random.default_rng(0),
        np.stack(np.meshgrid(range(6), range(5)), -1).reshape(-1, 2) * 20.0,
    )
    boxes = np.concatenate([corner, corner + rng.uniform(5, 19, corner.shape)], 1).astype(
        np.float32
    )
    scores = np.sort(rng.uniform(0, 1, 30).astype(np.float32))[::-1]
    found = numpy_nms.padded(
        [(boxes, scores, rng.integers(0, 3, 30)), (boxes[:4], scores[:4], np.arange(4))], 40
    )
    for detectors in ([lambda *_: found], [lambda *_: found] * 2):
        again = ensemble.fused(detectors, 40)(np.zeros((2, 8, 8, 3)), np.ones(2))
        assert {k: (v.shape, v.dtype) for k, v in again.items()} == {
            k: (v.shape, v.dtype) for k, v in found.items()
        }
        for key in found:
            np.testing.assert_allclose(again[key], found[key], rtol=1e-5)


def test_behind_a_network(small_model, small_config):
    images, scale = official.make_input(2, 96, 128, 3), np.array([1.0, 2.0], np.float32)
    detect = detect_batch(small_model, small_config)
    found, plain = ensemble.flip_test(detect)(images, scale), detect(images, scale)
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
        k: (v.shape, v.dtype) for k, v in plain.items()
    }
    assert np.all(np.diff(found['scores']) <= 0) and np.all(found['count'] > 0)


def test_official_mirrored_detections(golden):
    entry, rows = (
        cases()['gen_pyfunc_flip'],
        golden('func/postprocess_a.npz')['gen_pyfunc_flip/detections'],
    )
    outputs, config = candidates_of(entry)
    scales = np.float32(entry['scales'])

    def detect(_, scale_back):
        parts = zip(
            *(part.numpy() for part in anchor_head.candidates(outputs, config)), strict=True
        )
        found = numpy_nms.padded(
            [numpy_nms.per_class(*row, 20, method='gaussian') for row in parts], 20
        )
        return {**found, 'boxes': found['boxes'] * scale_back[:, None, None]}

    found = ensemble.mirrored(detect)(np.zeros((2, *entry['size'], 3), np.float32), scales)
    np.testing.assert_allclose(found['boxes'].numpy()[..., [1, 0, 3, 2]], rows[..., 1:5], atol=1e-2)
    np.testing.assert_allclose(found['scores'], rows[..., 5], atol=1e-5)
    np.testing.assert_array_equal(found['classes'] + 1, rows[..., 6])


def bright(images, scale):
    """A detector of the one bright rectangle in each image."""
    found = []
    for image, back in zip(np.asarray(images), scale, strict=True):
        y, x = np.nonzero(image[..., 0] > 0.5)
        box = np.float32([[y.min(), x.min(), y.max() + 1, x.max() + 1]]) * back
        found.append((box, np.float32([0.8]), np.array([4])))
    return numpy_nms.padded(found, 3)


def painted():
    images = np.zeros((2, 40, 64, 3), np.float32)
    images[0, 5:20, 10:18], images[1, 30:33, 40:64] = 1, 1
    return images, np.float32([1.0, 2.5])


def test_mirrored_boxes_stand_on_the_objects():
    images, scale = painted()
    plain, mirror = bright(images, scale), ensemble.mirrored(bright)(images, scale)
    for key in plain:
        np.testing.assert_allclose(mirror[key], plain[key], atol=1e-4)
    np.testing.assert_allclose(mirror['boxes'][1, 0], [75, 100, 82.5, 160], atol=1e-4)
    again = ensemble.mirrored(ensemble.mirrored(bright))(images, scale)
    np.testing.assert_allclose(again['boxes'], plain['boxes'], atol=1e-4)


def test_flip_test_joins_both_views():
    images, scale = painted()
    found = ensemble.flip_test(bright, 2)(images, scale)
    assert found['count'].numpy().tolist() == [1, 1] and found['boxes'].shape == (2, 2, 4)
    np.testing.assert_allclose(found['scores'][:, 0], 0.8, rtol=1e-6)
    np.testing.assert_allclose(
        found['boxes'][:, 0], bright(images, scale)['boxes'][:, 0], atol=1e-4
    )


def test_wrong_mirror_is_noticed():
    images, scale = painted()
    wrong = ensemble.fused([bright, lambda i, s: bright(i[:, :, ::-1], s)])(
        images, scale
    )  # boxes not mirrored back
    assert wrong['count'].numpy().tolist() == [2, 2] and float(
        wrong['scores'][0, 0]
    ) == pytest.approx(0.4)
