"""The public builders: a configuration in, a plain `keras.Model` out."""
import contextlib
import dataclasses

import keras
import tensorflow as tf

from keras_efficientdet.network.heads import anchor as anchor_head
from keras_efficientdet.ops import images
from keras_efficientdet.network.pyramids.pyramid import bifpn
from keras_efficientdet.weights.official import load_backbone, load_official, official_weights
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.config import Config, load_config
from keras_efficientdet.network.backbones.efficientnet import efficientnet
from keras_efficientdet.network.layers import random_step
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.released import released_checkpoint, released_config, released_sets
from keras_efficientdet.network.replicas import ReplicatedModel

_register = keras.saving.register_keras_serializable('keras_efficientdet')
HEADS = {'anchor': anchor_head.HEAD}


@_register
class DetectionModel(ReplicatedModel):
    """A functional model that knows its Config, and that lets a training state act around each Keras step.

    `detection_config` is saved with the model, so class names and preprocessing travel with `.keras` files.
    `compile_for_training` sets the rest: `training_state` has `before_step()` and `after_step(before)`, run inside the graph;
    `training_forward`(images) takes the place of the forward pass while training, `accumulation`(data) that of Keras' step.
    """
    detection_config = None
    frozen = frozenset()              # names of the layers that `compile_for_training` froze
    training_state = None
    training_forward = None

    @property
    def losses(self):
        """Regularisation of layers that train; Keras 2 would go on counting that of frozen ones."""
        return [loss for layer in self.layers if layer.trainable for loss in layer.losses]

    def call(self, inputs, training=None, mask=None):
        if training and self.training_forward is not None:
            return self.training_forward(inputs)
        return super().call(inputs, training=training, mask=mask)

    def train_step(self, *args, **kwargs):
        seed = self.detection_config.train.seed if self.detection_config else 0
        optimizer = getattr(self.optimizer, 'inner_optimizer', self.optimizer)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        with random_step(seed, optimizer.iterations, replica):
            if self.training_state is None:
                return super().train_step(*args, **kwargs)
            before = self.training_state.before_step()
            logs = super().train_step(*args, **kwargs)
            self.training_state.after_step(before)
            return logs

    def get_config(self):
        return {**super().get_config(), 'detection_config': self.detection_config.to_dict()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        detection_config = config.pop('detection_config')
        model = super().from_config(config, custom_objects)
        model.detection_config = load_config(Config(), detection_config)
        return model


def head_of(config):
    """The Head record of a configuration."""
    return HEADS['anchor']


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
        config, weights = released_config(config, weights), released_checkpoint(config.model.name, weights)
    with _precision(config.train.mixed_precision):
        network = _network(config)
    report = _load(network, weights, on_class_mismatch)
    if report and report.reinitialised:
        print(f'{report.source}: knows another number of classes; the class prediction starts fresh, all else is taken over')
    return network


def _load(network, weights, on_class_mismatch):
    """LoadReport, or None where Keras reads the file itself."""
    if weights is None:
        return None
    if isinstance(weights, str) and weights == 'imagenet':
        return load_backbone(network, imagenet_backbone(network.detection_config.model.backbone_name))
    if not str(weights).endswith('.weights.h5'):
        return load_official(network, weights, on_class_mismatch=on_class_mismatch)
    count = class_count(weights, network.detection_config.model) if on_class_mismatch == 'reinit' else None
    if count in (None, network.detection_config.model.num_classes):
        return network.load_weights(str(weights))
    donor = _network(load_config(network.detection_config, {'model': {'num_classes': count, 'label_map': None}}))
    donor.load_weights(str(weights))
    return dataclasses.replace(load_official(network, official_weights(donor), on_class_mismatch='reinit'), source=str(weights))


@contextlib.contextmanager
def _precision(policy):
    """Keras' dtype policy inside of the block; None leaves the one that is set."""
    outside = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy or outside)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(outside)


def _network(config):
    model, decay = config.model, config.train.weight_decay
    inputs = keras.Input((*model.image_size, 3), name='images')
    features = efficientnet(inputs, model.backbone_name, act_type=model.act_type, survival_prob=model.survival_prob,
                            weight_decay=decay)
    pyramid = bifpn(features, levels=(model.min_level, model.max_level), filters=model.fpn_num_filters,
                    repeats=model.fpn_cell_repeats, fusion=model.fpn_weight_method, graph=model.fpn_name,
                    act_type=model.act_type, separable=model.separable_conv, resample_bn=model.apply_bn_for_resampling,
                    conv_bn_act=model.conv_bn_act_pattern, weight_decay=decay)
    network = DetectionModel(inputs, head_of(config).build(pyramid, config), name=model.name)
    network.detection_config = config
    return network


@_register
class Prepare(keras.layers.Layer):
    """uint8 [B, H, W, 3] of any size -> normalised, resized, padded images and the scale back [B] (images.prepare)."""

    def __init__(self, size, mean_rgb, stddev_rgb, **kwargs):
        super().__init__(**kwargs)
        self.settings = {'size': tuple(size), 'mean_rgb': tuple(mean_rgb), 'stddev_rgb': tuple(stddev_rgb)}

    def call(self, inputs):
        return images.prepare(inputs, **self.settings)

    def get_config(self):
        return {**super().get_config(), **self.settings}


@_register
class Detect(keras.layers.Layer):
    """Network outputs and scale back -> detections in pixels of the original pictures (the head's `detect`)."""

    def __init__(self, detection_config, **kwargs):
        super().__init__(**{**kwargs, 'dtype': 'float32'})       # a saved one brings a dtype along
        self.detection_config = load_config(Config(), detection_config)

    def call(self, outputs, scale_back):
        boxes, scores, classes, count = head_of(self.detection_config).detect(outputs, self.detection_config)
        return {'boxes': images.undo(boxes, scale_back), 'scores': scores, 'classes': classes, 'count': count}

    def get_config(self):
        return {**super().get_config(), 'detection_config': self.detection_config.to_dict()}


def detector(model, config=None):
    """A network with its pre- and post-processing: photos in, boxes out.

    Args:
      model: the result of `efficientdet`.
      config: its Config, with other detection settings if wanted; default: the one that the model carries.
    Returns:
      keras.Model from uint8 images [B, H, W, 3] of any size to {'boxes': float32 [B, D, 4] ymin xmin ymax xmax in pixels
      of the input, 'scores': float32 [B, D], 'classes': int32 [B, D] 0-based, 'count': int32 [B]}, best first, padded with 0.
    """
    config = config or model.detection_config
    inputs = keras.Input((None, None, 3), dtype='uint8', name='images')
    prepared, scale_back = Prepare(config.model.image_size, config.model.mean_rgb, config.model.stddev_rgb,
                                   name='prepare')(inputs)
    detections = Detect(config.to_dict(), name='detect')(model(prepared), scale_back)
    whole = DetectionModel(inputs, detections, name=f'{config.model.name}-detector')
    whole.detection_config = config
    return whole


def is_detector(model):
    """Whether a Keras model is the result of `detector`: photos in, boxes out."""
    return isinstance(model.output, dict) and 'count' in model.output


def detect_batch(model, config):
    """A compiled function (prepared images [B, H, W, 3], scale back [B]) -> the detections of `detector`."""
    @tf.function(reduce_retracing=True)
    def run(prepared, scale_back):
        boxes, scores, classes, count = head_of(config).detect(model(prepared, training=False), config)
        return {'boxes': images.undo(boxes, scale_back), 'scores': scores, 'classes': classes, 'count': count}
    return run
