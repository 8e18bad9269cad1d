"""The public builders: a configuration in, a plain `keras.Model` out."""

import dataclasses

import keras

from keras_efficientdet.config import load_config
from keras_efficientdet.network.backbones.efficientnet import efficientnet
from keras_efficientdet.network.detection_model import DetectionModel, computing_in
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.network.pyramids.pyramid import pyramid
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.files import is_keras_weights
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.official import load_backbone, load_official, official_weights
from keras_efficientdet.weights.released import released_checkpoint, released_config, released_sets

_register = keras.saving.register_keras_serializable('keras_efficientdet')


def efficientdet(config='efficientdet-d0', weights=None, *, on_class_mismatch='error'):
    """EfficientDet as a Keras model.

    Args:
      config: a Config, or what `load_config` takes.
      weights: None (random), 'imagenet' (backbone only, EfficientNet-Lite0-2 from the `pretrained` extra), a released set
        ('coco', 'coco640', 'advprop': fetched into Keras' cache, and what it expects of image size and scaling is set where
        the configuration has its model's own values), a `.weights.h5` file that Keras saved of this model, or what
        `load_official` takes: a checkpoint, or a mapping.
      on_class_mismatch: 'error', or 'reinit': where the weights know another number of classes, as COCO's 90, the class
        prediction alone starts fresh, which is printed.
    Returns:
      keras.Model from float32 images [B, H, W, 3], normalised as `images.prepare` does, to {'classes': [B, A, num_classes]
      logits, 'boxes': [B, A, 4] codes ty tx th tw}. H and W may be any size. With `train.mixed_precision` its layers compute in
      that type; weights and outputs are float32 all the same.
    Raises:
      ConfigError, CheckpointError.
    Source: EfficientDet paper section 4. Layer names are the official variable names with . for /.
    """
    config = load_config(config)
    if isinstance(weights, str) and weights in released_sets():
        config, weights = (
            released_config(config, weights),
            released_checkpoint(config.model.name, weights),
        )
    with computing_in(config.train.mixed_precision):
        network = _network(config)
    report = _load(network, weights, on_class_mismatch)
    if report and report.reinitialised:
        print(
            f'{report.source}: knows another number of classes; the class prediction starts fresh, all else is taken over'
        )
    return network


def _load(network, weights, on_class_mismatch):
    """LoadReport, or None where Keras reads the file itself."""
    if weights is None:
        return None
    if isinstance(weights, str) and weights == 'imagenet':
        return load_backbone(
            network, imagenet_backbone(network.detection_config.model.backbone_name)
        )
    if not is_keras_weights(weights):
        return load_official(network, weights, on_class_mismatch=on_class_mismatch)
    count = (
        class_count(weights, network.detection_config.model)
        if on_class_mismatch == 'reinit'
        else None
    )
    if count in (None, network.detection_config.model.num_classes):
        return network.load_weights(str(weights))
    donor = _network(
        load_config(network.detection_config, {'model': {'num_classes': count, 'label_map': None}})
    )
    donor.load_weights(str(weights))
    return dataclasses.replace(
        load_official(network, official_weights(donor), on_class_mismatch='reinit'),
        source=str(weights),
    )


def _network(config):
    model, decay = config.model, config.train.weight_decay
    inputs = keras.Input((*model.image_size, 3), name='images')
    features = efficientnet(
        inputs,
        model.backbone_name,
        act_type=model.act_type,
        survival_prob=model.survival_prob,
        weight_decay=decay,
    )
    levels = pyramid(
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
        weight_decay=decay,
    )
    network = DetectionModel(inputs, head_of(config).build(levels, config), name=model.name)
    network.detection_config = config
    return network
