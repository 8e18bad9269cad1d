"""The public builder of a network: a configuration in, a `keras.Model` out."""

import dataclasses
import logging
import os
import typing
from collections.abc import Mapping

import keras

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.config.choices import APPLICATIONS, SCALINGS
from keras_efficientdet.errors import CheckpointError, ConfigError
from keras_efficientdet.network.backbones import applications
from keras_efficientdet.network.backbones.efficientnet import efficientnet
from keras_efficientdet.network.detection_model import (
    DetectionModel,
    channels_last,
    computing_in,
)
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.network.pyramids.pyramid import pyramid
from keras_efficientdet.network.pyramids.upsampling import upsampled
from keras_efficientdet.weights.applications import is_of_applications, official_values
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.files import is_keras_weights
from keras_efficientdet.weights.given import (
    IMAGENET,
    classes_in_keras_model,
    found_weights,
    is_keras_model,
)
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.official import (
    is_classifier,
    load_backbone,
    load_official,
    load_values,
    official_shapes,
    official_weights,
    weights_in,
)
from keras_efficientdet.weights.released import released_checkpoint, released_config, released_sets

_log = logging.getLogger(__name__)


def efficientdet(
    config: Config | str | os.PathLike = 'efficientdet-d0',
    weights: str | os.PathLike | typing.Mapping | None = None,
    *,
    on_class_mismatch: str = 'error',
    backbone: keras.Model | None = None,
) -> keras.Model:
    """Builds EfficientDet as a Keras model.

    Args:
      config: a Config, or what `load_config` takes.
      weights: one of
        None: random.
        'imagenet': the backbone only, for EfficientNet-Lite0 to Lite2 (extra `pretrained`), and B0
          to B7 and the networks of `keras.applications`, which Keras downloads into its cache.
        'coco', 'coco640', 'advprop': a released set, downloaded into Keras' cache. The image size
          and input scaling that it expects are set where the configuration has the defaults of its
          model.
        a `.weights.h5` or `.keras` file that Keras saved of this model.
        a folder that `fit` wrote: its best weights.
        what `load_official` takes: a checkpoint of google/automl, or a mapping of its variables.
        a checkpoint of a classifier of google/automl with the same backbone, or the h5 file of one
          of keras.applications: the backbone only.
      on_class_mismatch: what to do if the weights have another number of classes (COCO has 90):
        'error', or 'reinit' to initialise the class prediction only, and load all other weights.
      backbone: a Keras model in place of `backbone_name`; its weights are copied (TRAINING.md).
    Returns:
      keras.Model from float32 images [B, height, width, 3] of the configured size, normalised as
      by `images.prepare`, to the outputs of the configured head. The anchor head has {'classes':
      [B, A, num_classes] logits, 'boxes': [B, A, 4] codes ty tx th tw}. With
      `train.mixed_precision` layers compute in that type, but weights and outputs are float32.
    Raises:
      ConfigError: the configuration has a fault.
      CheckpointError: the weights cannot be read or do not fit.
    Source: EfficientDet paper section 4. Layer names are the official variable names with . for /.
    """
    config, weights = load_config(config), found_weights(weights)
    if isinstance(weights, str) and weights in released_sets():
        config = released_config(config, weights)  # refuses a set that this model does not have
        weights = released_checkpoint(config.model.name, weights)
    if backbone is not None:
        config = load_config(config, {'backbone_name': applications.name_of(backbone)})
    elif weights == IMAGENET and config.model.backbone_name in APPLICATIONS:
        backbone, weights = applications.application(config.model, IMAGENET), None
    with computing_in(config.train.mixed_precision):
        network = _network(config, backbone)
    report = _load(network, weights, on_class_mismatch)
    if report and report.reinitialised:
        _warn_of_new_classes(report, config.model.num_classes)
    return network


def _warn_of_new_classes(report, classes):
    _log.warning(
        '%s has another number of classes than num_classes=%d; the class prediction is newly '
        'initialised, all other weights are loaded',
        report.source,
        classes,
    )


def _load(network, weights, on_class_mismatch):
    """Loads `weights` of `efficientdet`. Returns a LoadReport, or None if there is none."""
    if weights is None:
        return None
    if isinstance(weights, str) and weights == IMAGENET:
        backbone = network.detection_config.model.backbone_name
        values = imagenet_backbone(backbone)
        return _load_classifier(network, values, f'imagenet {backbone}', on_class_mismatch)
    if is_keras_weights(weights):
        return _load_keras_file(network, weights, on_class_mismatch)
    if is_keras_model(weights):
        donor = _network_in(weights)
        report = load_official(
            network, official_weights(donor), on_class_mismatch=on_class_mismatch
        )
        return dataclasses.replace(report, source=str(weights))
    return _load_checkpoint(network, weights, on_class_mismatch)


def _load_checkpoint(network, weights, on_class_mismatch):
    """Loads a checkpoint of the network, or that of a classifier with the same backbone."""
    in_memory = isinstance(weights, Mapping)
    label = 'mapping' if in_memory else str(weights)
    values = weights if in_memory else weights_in(network, weights)
    if is_of_applications(values):
        values = official_values(values, network.detection_config.model.backbone_name, label)
    if is_classifier(values):
        return _load_classifier(network, values, label, on_class_mismatch)
    return load_values(network, label, values, on_class_mismatch=on_class_mismatch)


def _load_classifier(network, values, label, on_class_mismatch):
    """Loads an ImageNet classifier: all of it into a classifier, its backbone into a detector."""
    if is_classifier(official_shapes(network)):
        return load_values(network, label, values, on_class_mismatch=on_class_mismatch)
    return load_backbone(network, values, label)


def _load_keras_file(network, path, on_class_mismatch):
    """Loads a `.weights.h5` file; with 'reinit' also if it has another number of classes."""
    config = network.detection_config
    count, wanted = class_count(path, config.model), config.model.num_classes
    if count is None or count == wanted:
        _read_keras_file(network, path)
        return None
    if on_class_mismatch == 'error':
        raise CheckpointError(
            f'{path}: weights of {count} classes, so the class prediction has another shape than '
            f"that of num_classes={wanted}; on_class_mismatch='reinit' initialises it anew"
        )
    # Keras has no loading by name on both versions, so the file is read into a network of its own
    # number of classes, whose weights are then taken over by their official names.
    classes = {'model': {'num_classes': count, 'label_map': None}}
    donor = _network(load_config(config, classes))
    _read_keras_file(donor, path)
    report = load_official(network, official_weights(donor), on_class_mismatch='reinit')
    return dataclasses.replace(report, source=str(path))


def _read_keras_file(network, path):
    try:
        network.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise CheckpointError(f'{path}: not the weights of {network.name}: {error}') from error


def _network_in(path):
    """The network in a `.keras` file, which may hold the result of `detector`."""
    classes_in_keras_model(path)  # refuses what is no model of this package
    model = keras.models.load_model(path, compile=False)
    inner = [layer for layer in model.layers if isinstance(layer, DetectionModel)]
    return inner[0] if inner else model


@channels_last()
def _network(config, backbone=None):
    model = config.model
    inputs = keras.Input((*model.image_size, 3), name='images')
    levels = _pyramid(_features(inputs, config, backbone), config)
    network = DetectionModel(inputs, head_of(config).build(levels, config), name=model.name)
    network.detection_config = config
    return network if model.backbone_name in SCALINGS else applications.of_one_graph(network)


def _features(images, config, backbone):
    """{level: Keras tensor} of the backbone: one of ours, or any network of Keras."""
    model, weight_decay = config.model, config.train.weight_decay
    if backbone is None and model.backbone_name in SCALINGS:
        return efficientnet(
            images,
            model.backbone_name,
            act_type=model.act_type,
            survival_prob=model.survival_prob,
            weight_decay=weight_decay,
        )
    if backbone is None and model.backbone_name not in APPLICATIONS:
        raise ConfigError(
            f'{model.name} has a backbone that its configuration cannot build '
            f'(backbone_name={model.backbone_name!r}); give it as `backbone`, or load the `.keras` '
            'file of the model'
        )
    backbone = backbone or applications.application(model)
    return applications.applied(backbone, images, model, weight_decay)


def _pyramid(features, config):
    """What the head is built on: {level: Keras tensor}."""
    model = config.model
    if model.fpn_name == 'none':
        return features
    if model.fpn_name == 'upsampling':
        return upsampled(
            features,
            level=model.min_level,
            filters=model.fpn_num_filters,
            act_type=model.act_type,
            weight_decay=config.train.weight_decay,
        )
    return pyramid(
        features,
        levels=(model.min_level, model.max_level),
        filters=model.fpn_num_filters,
        repeats=model.fpn_cell_repeats,
        fusion=model.fpn_weight_method,
        graph=model.fpn_name,
        act_type=model.act_type,
        separable=model.separable_conv,
        resample_bn=model.apply_bn_for_resampling,
        conv_bn_act=model.conv_bn_act_pattern,
        weight_decay=config.train.weight_decay,
    )
