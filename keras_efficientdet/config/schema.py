"""The sections of a configuration: every key with its type, default, range and choices.

Key names are those of google/automl wherever it has the same setting. They are unique over all
sections, so `train.learning_rate=0.01` and `learning_rate=0.01` set the same key.
"""

import dataclasses
import re
import typing

from keras_efficientdet.config import choices, values
from keras_efficientdet.config.label_maps import LabelMap
from keras_efficientdet.config.rules import key


def _regular_expression(pattern):
    """What is wrong with a pattern of `freeze`, or None."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f'a list of regular expressions ({pattern!r}: {error})'
    return None


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network, and the input that its weights were trained with."""

    name: str = 'efficientdet-d0'
    backbone_name: str = key('efficientnet-b0', choices=choices.BACKBONES)
    # (height, width) in pixels; a file may give one int for a square.
    image_size: tuple[int, int] = key((512, 512), read=values.image_size)
    # Without background: inside the network, classes are numbered 0 to num_classes - 1.
    num_classes: int = key(90, low=1)
    # Channels of a segmentation. None: the background and num_classes.
    seg_num_classes: int | None = key(None, low=2, high=255)
    # Key points: how many a cell may hold, and whether cells are those of the lowest level, or one
    # cell is the whole image.
    points_per_cell: int = key(1, low=1)
    point_cells: str = key('level', choices=choices.POINT_CELLS)
    # Category ids and names of the data set in class order; None: the ids are 1 to num_classes.
    label_map: LabelMap | None = key(None, read=values.label_map)
    mean_rgb: tuple[float, ...] = key((0.485 * 255, 0.456 * 255, 0.406 * 255), length=3)
    stddev_rgb: tuple[float, ...] = key((0.229 * 255, 0.224 * 255, 0.225 * 255), length=3, above=0)
    # How an image gets the size of the network: 'pad' shows all of it, 'crop' its middle, as
    # google/automl evaluates classifiers.
    resize: str = key('pad', choices=choices.RESIZES)
    act_type: str = key('swish', choices=choices.ACTIVATIONS)
    # A backbone gives features up to level 5; the pyramid adds the levels above it.
    min_level: int = key(3, low=1, high=5)
    max_level: int = key(7, low=5)
    head: str = key('anchor', choices=choices.HEADS)
    fpn_name: str = key('bifpn', choices=choices.PYRAMIDS)
    fpn_num_filters: int = key(64, low=1)
    fpn_cell_repeats: int = key(3, low=1)
    fpn_weight_method: str = key('fastattn', choices=choices.FUSIONS)
    box_class_repeats: int = key(3, low=0)
    separable_conv: bool = True
    apply_bn_for_resampling: bool = True
    conv_bn_act_pattern: bool = False
    # Stochastic depth. None: 0.8 in the backbone (1.0, which is off, for B0) and none in the heads.
    survival_prob: float | None = key(None, low=0, high=1)
    dropout: float = key(0.0, low=0, below=1)  # before the layer that classifies images
    num_scales: int = key(3, low=1)
    # Each is an aspect ratio, width / height, or a pair of factors of the width and the height.
    aspect_ratios: tuple[float | tuple[float, float], ...] = key(
        (1.0, 2.0, 0.5), above=0, empty=False
    )
    # Anchor side in units of the stride: one number, or one per level.
    anchor_scale: float | tuple[float, ...] = key(4.0, above=0)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Augmentation, and how the input pipeline reads."""

    input_rand_hflip: bool = True
    # Scale jitter: the range that the factor is drawn from. 1.0 and 1.0 switch it off.
    jitter_min: float = key(0.1, above=0)
    jitter_max: float = key(2.0, above=0)
    autoaugment_policy: str | None = key(None, choices=choices.AUTOAUGMENT_POLICIES)
    grid_mask: bool = False
    input_rand_vflip: bool = False  # for images without an upright: microscopes, aerial cameras
    # Brightness, contrast and saturation are multiplied by 1 +- this; 0 switches it off.
    color_jitter: float = key(0.0, low=0, high=1)
    mosaic_prob: float = key(0.0, low=0, high=1)  # of an image to become one of four in a mosaic
    mixup_prob: float = key(0.0, low=0, high=1)  # of an image to be blended with another one
    skip_crowd_during_training: bool = True
    shuffle_buffer: int = key(1024, low=1)  # in examples, which are still encoded
    # 'grpc://host:port' of a tf.data service that reads and augments; None: this process does.
    data_service: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation. The defaults are official except `batch_norm_ramp` (docs/DIFFERENCES.md)."""

    batch_size: int = key(64, low=1)  # over all replicas
    num_epochs: int = key(300, low=1)
    optimizer: str = key('sgd', choices=choices.OPTIMIZERS)
    learning_rate: float = key(0.08, above=0)  # for a batch of 64: scaled by batch_size / 64
    lr_warmup_init: float = key(0.008, low=0)
    lr_warmup_epoch: float = key(1.0, low=0)
    lr_decay_method: str = key('cosine', choices=choices.DECAYS)
    first_lr_drop_epoch: float = key(200.0, low=0)
    second_lr_drop_epoch: float = key(250.0, low=0)
    poly_lr_power: float = key(0.9, low=0)
    momentum: float = key(0.9, low=0, below=1)
    weight_decay: float = key(4e-5, low=0)
    clip_gradients_norm: float = key(10.0, low=0)  # 0: no clipping
    moving_average_decay: float = key(0.9998, low=0, below=1)  # 0: no moving average of weights
    batch_norm_ramp: bool = True  # momentum min(0.99, (1+t)/(10+t)); False: the official constant
    alpha: float = key(0.25, low=0, high=1)
    gamma: float = key(1.5, low=0)
    label_smoothing: float = key(0.0, low=0, below=1)
    delta: float = key(0.1, above=0)
    box_loss_weight: float = key(50.0, low=0)
    iou_loss_type: str | None = key(None, choices=choices.IOU_LOSSES)  # added to the box loss
    iou_loss_weight: float = key(1.0, low=0)
    point_loss: str = key('bce', choices=choices.POINT_LOSSES)
    point_loss_weight: float = key(1.0, low=0)
    steps_per_execution: int = key(1, low=1)  # steps in one call of the compiled function
    # Parts of layer names, or regular expressions: layers that match are not trained.
    freeze: tuple[str, ...] | None = key(None, each=_regular_expression)
    accumulation_steps: int = key(1, low=1)  # a batch goes through the network in so many parts
    mixed_precision: str | None = key(None, choices=choices.PRECISIONS)
    recompute: bool = False  # gradient checkpointing: one more forward pass, about half the memory
    jit_compile: bool = False  # compile the training step with XLA
    seed: int = key(0, low=0, high=2**32 - 1)  # the range of numpy's seeds


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """Post-processing; google/automl calls this section `nms_configs`."""

    # 'gaussian' is soft NMS; 'linear' and 'diou' exist in ops/numpy_nms.py only.
    method: str = key('gaussian', choices=choices.NMS_METHODS)
    iou_thresh: float = key(0.5, low=0, high=1)  # not used by 'gaussian'
    sigma: float = key(0.5, above=0)  # 'gaussian' only; the sigma of the soft NMS paper
    score_thresh: float = key(0.001, low=0, high=1)
    per_class: bool = True  # False: boxes of different classes suppress each other
    # The best (anchor, class) pairs that enter NMS; 0: each anchor with its best class.
    max_nms_inputs: int = key(5000, low=0)
    max_output_size: int = key(100, low=1)


@dataclasses.dataclass(frozen=True)
class Expected:
    """Published results of a configuration. Only tests and listings read them."""

    val_ap: float | None = key(None, low=0, high=100)  # COCO val2017, in percent
    trainable_params: int | None = key(None, low=1)
    gflops: float | None = key(None, above=0)


@dataclasses.dataclass(frozen=True)
class Config:
    """All sections. `load_config(config, overrides)` returns a changed copy."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    detect: DetectConfig = DetectConfig()
    expected: Expected = Expected()

    def to_dict(self) -> dict:
        """Nested dicts and lists for yaml and json, which `load_config(Config(), ...)` reads.

        The label map is a list of [id, name], so the class order survives writers that sort keys.
        """
        return values.plain(dataclasses.asdict(self))


SECTIONS: dict[str, typing.Any] = {field.name: field.type for field in dataclasses.fields(Config)}
# Presets of the section `detect`: load_config(name, 'detect=fast').
PRESETS = {
    'official_eval': dataclasses.asdict(DetectConfig()),  # as the published AP was measured
    'fast': {
        **dataclasses.asdict(DetectConfig()),
        'method': 'hard',
        'score_thresh': 0.05,
        'max_nms_inputs': 500,
    },
}


def class_ids(model_config: ModelConfig) -> tuple[int, ...]:
    """The category id of each class, in class order: num_classes ids of the data set."""
    return tuple(model_config.label_map or range(1, model_config.num_classes + 1))


def class_names(model_config: ModelConfig) -> tuple[str, ...]:
    """The name of each class, in class order; without a label map the category ids as text."""
    if model_config.label_map:
        return tuple(model_config.label_map.values())
    return tuple(str(i) for i in class_ids(model_config))
