"""How many classes weights know, in each form that they come in."""

import keras
import numpy as np
import pytest
from little import TINY

from keras_efficientdet import CheckpointError, efficientdet, load_config
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.official import official_weights, save_official


@pytest.mark.parametrize(('classes', 'filters'), [(2, 16), (4, 16), (7, 36)])
def test_of_a_mapping_a_checkpoint_and_a_keras_file(classes, filters, tmp_path):
    """Classes as many as sides of a box, and filters that nine places would divide."""
    model = efficientdet(
        load_config(
            'efficientdet-lite0', {**TINY, 'num_classes': classes, 'fpn_num_filters': filters}
        )
    )
    save_official(model, str(tmp_path / 'model'))
    model.save_weights(str(tmp_path / 'model.weights.h5'))
    settings = model.detection_config.model
    for weights in (
        official_weights(model),
        tmp_path / 'model',
        str(tmp_path / 'model.weights.h5'),
    ):
        assert class_count(weights, settings) == classes


@pytest.mark.parametrize(
    'change',
    [
        # A convolution of the backbone, (1, 1, 24, 144), looks like a prediction of 16 classes.
        {'fpn_num_filters': 24, 'backbone_name': 'efficientnet-b0'},
        {'fpn_num_filters': 27},  # the class prediction is as wide as a tower
        {'separable_conv': False},
    ],
    ids=str,
)
def test_of_a_keras_file_whose_kernels_look_like_predictions(change, tmp_path):
    model = efficientdet(load_config('efficientdet-lite0', {**TINY, 'num_classes': 3, **change}))
    model.save_weights(str(tmp_path / 'model.weights.h5'))
    assert class_count(tmp_path / 'model.weights.h5', model.detection_config.model) == 3


def test_of_a_keras_file_of_something_else(tmp_path):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    network.save_weights(str(tmp_path / 'other.weights.h5'))
    assert class_count(tmp_path / 'other.weights.h5', load_config('efficientdet-d0').model) is None


def test_of_a_name_and_of_a_classifier():
    settings = load_config('efficientdet-d0').model
    assert class_count('coco', settings) == class_count('advprop', settings) == 90
    assert class_count({'efficientnet-b0/stem/conv2d/kernel': np.zeros(3)}, settings) is None


@pytest.mark.parametrize('name', ['no.weights.h5', 'no/checkpoint'])
def test_what_cannot_be_read_is_named(name, tmp_path):
    with pytest.raises(CheckpointError, match=name):
        class_count(str(tmp_path / name), load_config('efficientdet-d0').model)
