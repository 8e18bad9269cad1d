"""Suppression against TensorFlow's own op, a plain numpy loop, and official outputs."""

import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import load_config
from keras_efficientdet.network.heads import anchor as anchor_head
from keras_efficientdet.ops.anchors import decode, feature_sizes
from keras_efficientdet.ops.boxes import flip_horizontally
from keras_efficientdet.ops.nms import non_max_suppression, top_pairs

SPREAD = 1.5  # of the official logits


def candidates(seed, batch=3, count=400, classes=5):
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 200, (batch, count, 2)), rng.uniform(5, 80, (batch, count, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
    return (
        boxes,
        rng.permutation(batch * count).reshape(batch, count).astype(np.float32) / (batch * count),
        rng.integers(0, classes, (batch, count)).astype(np.int32),
    )


def plain_nms(boxes, scores, classes, method, iou_thresh, sigma, score_thresh, per_class, size):
    """One image, one candidate at a time: [(score, class, box)]"""
    scores, kept = scores.astype(np.float64), []
    while len(kept) < size and scores.max() > score_thresh:
        best = int(scores.argmax())
        kept.append((scores[best], classes[best], boxes[best]))
        scores[best] = -1
        for j in np.flatnonzero(scores > 0):
            if per_class and classes[j] != classes[best]:
                continue
            sides = np.minimum(boxes[j, 2:], boxes[best, 2:]) - np.maximum(
                boxes[j, :2], boxes[best, :2]
            )
            shared = np.prod(np.maximum(sides, 0))
            iou = shared / (
                np.prod(boxes[j, 2:] - boxes[j, :2])
                + np.prod(boxes[best, 2:] - boxes[best, :2])
                - shared
            )
            scores[j] *= (
                np.exp(-(iou**2) / sigma) if method == 'gaussian' else float(iou <= iou_thresh)
            )
    return kept


@pytest.mark.parametrize('method', ['gaussian', 'hard'])
@pytest.mark.parametrize('per_class', [True, False])
@pytest.mark.parametrize('score_thresh', [0.001, 0.6005])
def test_equals_a_plain_loop(method, per_class, score_thresh):
    boxes, scores, classes = candidates(1, count=150)
    found = non_max_suppression(
        boxes,
        scores,
        classes,
        method=method,
        per_class=per_class,
        score_thresh=score_thresh,
        max_output_size=60,
    )
    for i in range(len(boxes)):
        wanted = plain_nms(
            boxes[i], scores[i], classes[i], method, 0.5, 0.5, score_thresh, per_class, 60
        )
        count = int(found[3][i])
        assert count == len(wanted)
        np.testing.assert_allclose(found[1][i][:count], [w[0] for w in wanted], atol=1e-6)
        np.testing.assert_array_equal(found[2][i][:count], [w[1] for w in wanted])
        np.testing.assert_array_equal(found[0][i][:count], [w[2] for w in wanted])
        assert all(np.all(part[i].numpy()[count:] == 0) for part in found[:3])


@pytest.mark.parametrize('method, sigma', [('gaussian', 0.25), ('hard', 0.0)])
def test_equals_tensorflow_class_by_class(method, sigma):
    boxes, scores, classes = candidates(2)
    found = non_max_suppression(boxes, scores, classes, method=method, max_output_size=50)
    for i in range(len(boxes)):
        rows = []
        for k in range(5):
            own = np.flatnonzero(classes[i] == k)
            picked = tf.raw_ops.NonMaxSuppressionV5(
                boxes=boxes[i][own],
                scores=scores[i][own],
                max_output_size=50,
                iou_threshold=0.5,
                score_threshold=0.001,
                soft_nms_sigma=sigma,
                pad_to_max_output_size=False,
            )
            rows += [
                (score, k, own[j])
                for j, score in zip(
                    picked.selected_indices.numpy(), picked.selected_scores.numpy(), strict=True
                )
            ]
        rows = sorted(rows, reverse=True)[:50]
        np.testing.assert_allclose(found[1][i], [r[0] for r in rows], atol=1e-6)
        np.testing.assert_array_equal(found[2][i], [r[1] for r in rows])
        np.testing.assert_array_equal(found[0][i], boxes[i][[r[2] for r in rows]])


def test_official_hand_made_boxes():
    arrays = official.golden('func/nms_v5_hand.npz')
    boxes, scores = arrays['boxes'][None], arrays['scores'][None]
    for case, settings in (
        ('hard_thr', {'method': 'hard', 'score_thresh': 0.55}),
        ('gauss', {}),
        ('gauss_thr', {'score_thresh': 0.5}),
    ):
        found = non_max_suppression(
            boxes, scores, np.zeros((1, 8), np.int32), max_output_size=6, **settings
        )
        valid = int(arrays[f'{case}/valid'])
        assert int(found[3][0]) == valid
        np.testing.assert_allclose(found[1][0][:valid], arrays[f'{case}/scores'][:valid], atol=1e-6)
        np.testing.assert_array_equal(
            found[0][0][:valid], arrays['boxes'][arrays[f'{case}/idx'][:valid]]
        )


def test_one_image_alone_or_in_a_batch():
    boxes, scores, classes = candidates(4)
    together = non_max_suppression(boxes, scores, classes, max_output_size=30)
    for i in range(len(boxes)):
        alone = non_max_suppression(
            boxes[i : i + 1], scores[i : i + 1], classes[i : i + 1], max_output_size=30
        )
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a[0], b[i])


def test_nothing_above_the_threshold():
    boxes, scores, classes = candidates(5, batch=2)
    boxes_, scores_, classes_, count = non_max_suppression(
        boxes, scores * 0, classes, max_output_size=7
    )
    assert (
        boxes_.shape == (2, 7, 4)
        and not np.any(boxes_)
        and not np.any(scores_)
        and not np.any(classes_)
    )
    assert count.numpy().tolist() == [0, 0]


def test_degenerate_boxes_overlap_nothing_and_are_finite():
    boxes = np.array([[[5, 5, 5, 9], [9, 9, 2, 2], [0, 0, 10, 10]]], np.float32)
    found = non_max_suppression(
        boxes,
        np.array([[0.9, 0.8, 0.7]], np.float32),
        np.zeros((1, 3), np.int32),
        max_output_size=3,
    )
    np.testing.assert_allclose(found[1][0], [0.9, 0.8, 0.7])


@pytest.mark.parametrize('count', [1, 7, 50, 5000])
def test_top_pairs_equals_sorting_all_pairs(count):
    rng = np.random.default_rng(6)
    logits = rng.permutation(2 * 40 * 6).reshape(2, 40, 6).astype(np.float32) / 100 - 2
    boxes = rng.uniform(0, 9, (2, 40, 4)).astype(np.float32)
    ours_boxes, scores, classes = top_pairs(logits, boxes, count)
    for i in range(2):
        order = np.argsort(-logits[i].reshape(-1))[:count]
        np.testing.assert_allclose(
            scores[i], 1 / (1 + np.exp(-logits[i].reshape(-1)[order])), rtol=1e-6
        )
        np.testing.assert_array_equal(classes[i], order % 6)
        np.testing.assert_array_equal(ours_boxes[i], boxes[i][order // 6])


def test_best_class_of_every_anchor():
    logits = np.random.default_rng(7).standard_normal((2, 9, 4)).astype(np.float32)
    boxes, scores, classes = top_pairs(logits, np.zeros((2, 9, 4), np.float32), 0)
    np.testing.assert_array_equal(classes, logits.argmax(-1))
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.max(-1))), rtol=1e-6)
    assert boxes.shape == (2, 9, 4)


def test_unknown_method():
    with pytest.raises(ValueError, match='expected one of gaussian, hard'):
        non_max_suppression(*candidates(0), method='diou')


# What follows compares with official outputs on logits that are drawn by the rules of index.json.
# Official class ids are 1-based, and official padding repeats candidate 0 (global) or is 0 (per
# class); ours are 0-based and padded with 0.


def cases():
    return official.index('func/postprocess_a.npz')['cases']


def candidates_of(entry, classes=5, **detect):
    """({'classes', 'boxes'}, config) of a case of postprocess_a."""
    nms = entry['nms_configs']
    config = load_config(
        'efficientdet-d0',
        {
            'image_size': entry['size'],
            'num_classes': entry.get('ncls', classes),
            'method': nms['method'] or 'hard',
            'iou_thresh': nms['iou_thresh'] or 0.5,
            'sigma': nms['sigma'] or 0.5,
            'score_thresh': nms['score_thresh'] or (0.001 if nms['method'] == 'gaussian' else 0.0),
            'max_nms_inputs': nms['max_nms_inputs'],
            'max_output_size': nms['max_output_size'],
            **detect,
        },
    )
    rng, rows = np.random.Generator(np.random.PCG64(entry['seed'])), {'classes': [], 'boxes': []}
    n, k = entry.get('n', 2), config.model.num_classes
    for height, width in feature_sizes(tuple(entry['size']), 7)[3:]:
        logits = rng.standard_normal((n, height, width, 9 * k)) * entry.get('spread', SPREAD) - 4.0
        codes = rng.standard_normal((n, height, width, 36)) * 0.3
        rows['classes'].append(logits.astype(np.float32).reshape(n, -1, k))
        rows['boxes'].append(codes.astype(np.float32).reshape(n, -1, 4))
    return {key: np.concatenate(parts, 1) for key, parts in rows.items()}, config


def same_rows(found, rows):
    """Compares with official rows image_id, xmin, ymin, xmax, ymax, score, class."""
    np.testing.assert_allclose(found['boxes'].numpy()[..., [1, 0, 3, 2]], rows[..., 1:5], atol=1e-2)
    np.testing.assert_allclose(found['scores'], rows[..., 5], atol=1e-5)
    np.testing.assert_array_equal(found['classes'] + 1, rows[..., 6])


def same_detections(found, arrays, case, scales):
    boxes, scores, classes, count = found
    np.testing.assert_array_equal(count, arrays[f'{case}/valid_len'])
    for i, valid in enumerate(count.numpy()):
        np.testing.assert_allclose(
            boxes[i][:valid] * scales[i], arrays[f'{case}/boxes'][i][:valid], atol=1e-2
        )
        np.testing.assert_allclose(
            scores[i][:valid], arrays[f'{case}/scores'][i][:valid], atol=1e-5
        )
        np.testing.assert_array_equal(classes[i][:valid] + 1, arrays[f'{case}/classes'][i][:valid])
        assert (
            not np.any(boxes[i][valid:])
            and not np.any(scores[i][valid:])
            and not np.any(classes[i][valid:])
        )


def unclipped(outputs, config):
    nms = config.detect
    return non_max_suppression(
        *anchor_head.candidates(outputs, config),
        method=nms.method,
        iou_thresh=nms.iou_thresh,
        sigma=nms.sigma,
        score_thresh=nms.score_thresh,
        max_output_size=nms.max_output_size,
    )


def of_kind(kind):
    return [
        name
        for name, entry in cases().items()
        if entry['fn'] == kind and 'official_error' not in entry
    ]


@pytest.mark.parametrize('case', of_kind('global'))
def test_official_global_mode(case, golden):
    outputs, config = candidates_of(cases()[case], per_class=False)
    same_detections(
        anchor_head.detect(outputs, config), golden('func/postprocess_a.npz'), case, scales_of(case)
    )


@pytest.mark.parametrize('case', of_kind('per_class'))
def test_official_per_class_mode(case, golden):
    outputs, config = candidates_of(cases()[case])
    same_detections(
        unclipped(outputs, config), golden('func/postprocess_a.npz'), case, scales_of(case)
    )
    clipped = anchor_head.detect(outputs, config)[0].numpy()
    assert clipped.min() >= 0 and np.all(clipped.max((0, 1)) <= cases()[case]['size'] * 2)


@pytest.mark.parametrize('case', of_kind('combined'))
def test_official_combined_mode(case, golden):
    """All pairs, hard, IoU 0.5 whatever the configuration says."""
    nms = cases()[case]['nms_configs']
    outputs, config = candidates_of(
        cases()[case],
        method='hard',
        iou_thresh=0.5,
        max_nms_inputs=10**6,
        score_thresh=nms['score_thresh'],
    )
    same_detections(
        anchor_head.detect(outputs, config), golden('func/postprocess_a.npz'), case, scales_of(case)
    )


def scales_of(case):
    return cases()[case].get('scales', [1.0, 1.0])


@pytest.mark.parametrize('case', ['gen_per_class', 'gen_global', 'gen_flip'])
def test_official_generated_detections(case, golden):
    entry, rows = cases()[case], golden('func/postprocess_a.npz')[f'{case}/detections']
    outputs, config = candidates_of(entry, per_class=entry.get('per_class', True))
    boxes, scores, classes, _ = (unclipped if config.detect.per_class else anchor_head.detect)(
        outputs, config
    )
    scales = np.float32(entry['scales'])[:, None]
    boxes = boxes * scales[..., None]
    found = {
        'boxes': flip_horizontally(boxes, scales * entry['size'][1]) if entry.get('flip') else boxes
    }
    same_rows({**found, 'scores': scores, 'classes': classes}, rows)
    np.testing.assert_array_equal(rows[:, 0, 0], entry['ids'])
    np.testing.assert_allclose(
        golden('func/postprocess_a.npz')[f'{case}/transformed'][..., 3:5],
        rows[..., 3:5] - rows[..., 1:3],
        atol=1e-3,
    )


@pytest.mark.parametrize('case', ['pre_max', 'pre_topk500'])
def test_official_candidates(case, golden):
    entry, arrays = cases()[case], golden('func/postprocess_a.npz')
    boxes, scores, classes = (
        part.numpy() for part in anchor_head.candidates(*candidates_of(entry))
    )
    step = entry.get('row_step', 1)
    for i in range(2):
        order = np.lexsort((classes[i], -scores[i])) if case == 'pre_topk500' else slice(None)
        for ours, key in ((boxes, 'boxes'), (scores, 'scores'), (classes, 'classes')):
            np.testing.assert_allclose(
                ours[i][order][::step],
                arrays[f'{case}/{key}'][i],
                atol=1e-3 if key == 'boxes' else 1e-6,
            )


def test_official_scores_and_boxes_of_all_anchors(golden):
    arrays = golden('func/postprocess_a.npz')
    for case, boxes in (('pre_notopk', 'boxes'), ('tflite_pre', 'box_outputs')):
        outputs, config = candidates_of(cases()[case])
        decoded = decode(outputs['boxes'], anchor_head.config_anchors(config)).numpy()
        step = cases()[case]['row_step']
        np.testing.assert_allclose(
            tf.sigmoid(outputs['classes'])[:, ::step], arrays[f'{case}/scores'], atol=1e-6
        )
        ours = outputs['boxes'] if case == 'tflite_pre' else decoded  # TFLite gets the codes
        np.testing.assert_allclose(ours[:, ::step], arrays[f'{case}/{boxes}'], atol=1e-3)
    ymin, xmin, ymax, xmax = (
        anchor_head.config_anchors(config)[::step].T / np.float32([64, 128, 64, 128])[:, None]
    )
    np.testing.assert_allclose(
        np.stack([(ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin], 1),
        arrays['tflite_pre/anchors_centersize'],
        atol=1e-5,
    )


@pytest.mark.parametrize('case', ['method_bad', 'method_diou'])
def test_official_errors(case):
    with pytest.raises(ValueError, match=r'gaussian or hard|gaussian, hard'):
        anchor_head.detect(*candidates_of(cases()[case]))
