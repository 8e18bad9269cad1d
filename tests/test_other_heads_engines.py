"""Heads of other kinds give the same answers on ONNX Runtime and OpenVINO as on Keras."""

import keras
import numpy as np
import pytest
from little import TINY

from keras_efficientdet import Detector, efficientdet, export_onnx, export_openvino, load_config

HEADS = {
    'classification': ('efficientnet-lite0', {'max_output_size': 4}),
    'center': ('centernet-lite0', {'fpn_num_filters': 8, 'max_output_size': 10}),
    'anchor+segmentation': (
        'efficientdet-lite0',
        {**TINY, 'head': 'anchor+segmentation', 'max_output_size': 10},
    ),
    'points': ('efficientdet-lite0', {**TINY, 'head': 'points', 'max_output_size': 10}),
}


@pytest.fixture(scope='module', params=sorted(HEADS))
def model(request):
    """A network whose outputs depend on the image: norms from noise."""
    name, settings = HEADS[request.param]
    short = {'backbone_name': TINY['backbone_name'], 'image_size': 128, 'num_classes': 5}
    keras.utils.set_random_seed(3)
    network = efficientdet(load_config(name, [short, settings]))
    noise = np.random.default_rng(0).normal(size=(4, 128, 128, 3))
    for layer in network.layers:
        if hasattr(layer, 'momentum'):
            layer.momentum = 0.0
    network(noise.astype(np.float32), training=True)
    return network


@pytest.mark.parametrize('ending', ['onnx', 'xml'])
def test_engines_agree_with_keras(model, ending, tmp_path):
    pytest.importorskip('tf2onnx' if ending == 'onnx' else 'openvino')
    path = tmp_path / f'model.{ending}'
    (export_onnx if ending == 'onnx' else export_openvino)(model, path)
    rng = np.random.default_rng(1)
    images = [np.uint8(rng.integers(0, 256, shape)) for shape in ((90, 140, 3), (200, 60, 3))]
    for ours, theirs in zip(Detector(model)(images), Detector(path)(images), strict=True):
        assert len(ours) == len(theirs) > 0
        np.testing.assert_allclose(theirs.scores, ours.scores, atol=2e-3)
        np.testing.assert_array_equal(theirs.classes[:1], ours.classes[:1])
        np.testing.assert_allclose(theirs.boxes[:1], ours.boxes[:1], atol=0.5)
        if ours.mask is not None:
            assert theirs.mask.shape == ours.mask.shape and len(np.unique(ours.mask)) > 1
            assert np.mean(theirs.mask == ours.mask) > 0.98
