"""The official numpy NMS: every method, per class, and behind a network."""

import numpy as np
import official
import pytest
from test_nms import candidates_of, cases, same_rows

from keras_efficientdet import ConfigError, load_config
from keras_efficientdet.config.official import from_official
from keras_efficientdet.evaluation import numpy_nms as evaluation_nms
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.heads import anchor as anchor_head
from keras_efficientdet.ops import numpy_nms

NMS = 'func/nms_np.npz'
METHODS = ('hard', 'diou', 'gaussian', 'linear', 'None')


def by_rows(boxes):
    """x y x y -> y x y x and back"""
    return boxes[:, [1, 0, 3, 2]]


@pytest.mark.parametrize(
    'case', [f'{method}_{kind}' for method in METHODS for kind in ('def', 'c')]
)
def test_official_methods(case, golden):
    entry, arrays = official.index(NMS)['cases'][case], golden(NMS)
    overrides = from_official({'nms_configs': {**entry, 'pyfunc': True}}).overrides
    detect = load_config('efficientdet-d0', overrides).detect
    assert detect.method == (entry['method'] or 'hard')
    rows, scores = numpy_nms.non_max_suppression(
        by_rows(arrays['dets']),
        arrays['dets'][:, 4],
        method=detect.method,
        iou_thresh=detect.iou_thresh,
        sigma=detect.sigma,
        score_thresh=detect.score_thresh,
    )
    np.testing.assert_array_equal(arrays['dets'][rows, :4], arrays[case][:, :4])
    np.testing.assert_allclose(scores, arrays[case][:, 4], rtol=1e-5)


def test_golden_notices_sides_without_the_extra_pixel(golden):
    arrays = golden(NMS)
    scores = numpy_nms.non_max_suppression(by_rows(arrays['dets']) * 1000, arrays['dets'][:, 4])[
        1
    ]  # 1 of 1000 is nothing
    assert (
        len(scores) != len(arrays['gaussian_def'])
        or np.max(np.abs(scores - arrays['gaussian_def'][:, 4])) > 1e-3
    )


@pytest.mark.parametrize('method', ['gaussian', 'hard'])
def test_official_per_class(method, golden):
    arrays = golden(NMS)
    wanted = arrays[f'per_class_{method}']
    wanted = wanted[wanted[:, 5] > -1e5]  # padded officially with rows of score -1e5
    boxes, scores, classes = numpy_nms.per_class(
        arrays['per_class_boxes'],
        arrays['dets'][:, 4],
        arrays['per_class_classes'],
        70,
        method=method,
    )
    np.testing.assert_allclose(by_rows(boxes) * 1.5, wanted[:, 1:5], atol=1e-3)
    np.testing.assert_allclose(scores, wanted[:, 5], rtol=1e-4)
    np.testing.assert_array_equal(classes, wanted[:, 6] - 1)


@pytest.mark.parametrize('case', ['gen_pyfunc', 'gen_pyfunc_hard'])
def test_official_detections(case, golden):
    entry, arrays = cases()[case], golden('func/postprocess_a.npz')
    outputs, config = candidates_of(entry)
    rows = [part.numpy() for part in anchor_head.candidates(outputs, config)]
    found = [
        numpy_nms.per_class(*row, 20, method=config.detect.method)
        for row in zip(*rows, strict=True)
    ]
    found = numpy_nms.padded(found, 20)
    same_rows(
        {**found, 'boxes': found['boxes'] * np.float32(entry['scales'])[:, None, None]},
        arrays[f'{case}/detections'],
    )


def test_nothing_and_less_than_the_size():
    boxes, scores, classes = numpy_nms.per_class(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    )
    found = numpy_nms.padded(
        [(boxes, scores, classes), (np.ones((3, 4)), np.ones(3), np.ones(3, int))], 2
    )
    assert found['boxes'].shape == (2, 2, 4) and found['count'].numpy().tolist() == [0, 2]
    assert not np.any(found['boxes'][0]) and not np.any(found['scores'][0])


def test_behind_a_network_it_finds_what_the_compiled_one_finds(small_model, small_config):
    images, scale = official.make_input(2, 96, 128, 3), np.array([1.0, 2.0], np.float32)
    config = load_config(small_config, {'detect.method': 'hard', 'max_nms_inputs': 300})
    ours, theirs = (
        detect_batch(small_model, config)(images, scale),
        evaluation_nms.detect_batch(small_model, config)(images, scale),
    )
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {
        k: (v.shape, v.dtype) for k, v in theirs.items()
    }
    np.testing.assert_allclose(ours['scores'][:, 0], theirs['scores'][:, 0], rtol=1e-6)
    np.testing.assert_array_equal(ours['classes'][:, 0], theirs['classes'][:, 0])


def test_all_classes_together_is_refused(small_model, small_config):
    with pytest.raises(ConfigError, match='per_class=false'):
        evaluation_nms.detect_batch(small_model, load_config(small_config, {'per_class': False}))


def test_unknown_method():
    with pytest.raises(ValueError, match='gaussian, hard, linear, diou'):
        numpy_nms.non_max_suppression(np.zeros((1, 4)), np.ones(1), method='bad')
