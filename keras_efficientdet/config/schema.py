"""One configuration for a detector, its data, its training and its detections.

Field names are the official ones wherever google/automl has the knob, and are unique over the sections,
so `train.learning_rate=0.01` and `learning_rate=0.01` say the same thing.
"""

import dataclasses

from keras_efficientdet.config.values import plain

AUTOAUGMENT_POLICIES = ('v0', 'v1', 'v2', 'v3', 'randaug')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and what its weights were trained to expect."""

    name: str = 'efficientdet-d0'
    backbone_name: str = 'efficientnet-b0'
    image_size: tuple[int, int] = (512, 512)  # (height, width); one int in a file means square
    num_classes: int = 90  # without background; class ids inside are 0..num_classes-1
    label_map: dict | None = (
        None  # {the data set's own id: name} in class order; None: ids 1..num_classes
    )
    mean_rgb: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    stddev_rgb: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    act_type: str = 'swish'
    min_level: int = 3
    max_level: int = 7
    head: str = 'anchor'  # a row of config.choices.HEADS
    fpn_name: str = 'bifpn'
    fpn_num_filters: int = 64
    fpn_cell_repeats: int = 3
    fpn_weight_method: str = 'fastattn'
    box_class_repeats: int = 3
    separable_conv: bool = True
    apply_bn_for_resampling: bool = True
    conv_bn_act_pattern: bool = False
    survival_prob: float | None = None  # None: 0.8 in the backbone (off for B0), none in the heads
    num_scales: int = 3
    aspect_ratios: tuple = (1.0, 2.0, 0.5)  # a ratio width/height, or a pair of (x, y) multipliers
    anchor_scale: float | tuple = 4.0  # one for all levels, or one per level


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Augmentation and bookkeeping of the input pipeline."""

    input_rand_hflip: bool = True
    jitter_min: float = 0.1  # scale jitter; 1.0 and 1.0 switch it off
    jitter_max: float = 2.0
    autoaugment_policy: str | None = None  # 'v0' to 'v3' or 'randaug'
    grid_mask: bool = False
    input_rand_vflip: bool = (
        False  # for pictures without an upside: microscopes, cameras in the air
    )
    color_jitter: float = 0.0  # brightness, contrast, saturation times 1 +- this; 0 switches it off
    mosaic_prob: float = 0.0  # of a picture to become one of four
    mixup_prob: float = 0.0  # of a picture to be blended with another
    skip_crowd_during_training: bool = True
    shuffle_buffer: int = 1024  # examples, still encoded
    data_service: str | None = (
        None  # 'grpc://host:port' of a tf.data service that reads and augments
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation. The defaults are the official ones but for `batch_norm_ramp` (docs/DIFFERENCES.md)."""

    batch_size: int = 64  # over all replicas
    num_epochs: int = 300
    optimizer: str = 'sgd'
    learning_rate: float = 0.08  # per 64 images: scaled by batch_size / 64
    lr_warmup_init: float = 0.008
    lr_warmup_epoch: float = 1.0
    lr_decay_method: str = 'cosine'
    first_lr_drop_epoch: float = 200.0
    second_lr_drop_epoch: float = 250.0
    poly_lr_power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 4e-5
    clip_gradients_norm: float = 10.0
    moving_average_decay: float = 0.9998  # 0: no moving average of the weights
    batch_norm_ramp: bool = True  # momentum min(0.99, (1+t)/(10+t)); False: the official constant
    alpha: float = 0.25
    gamma: float = 1.5
    label_smoothing: float = 0.0
    delta: float = 0.1
    box_loss_weight: float = 50.0
    iou_loss_type: str | None = None  # 'iou', 'giou', 'diou' or 'ciou', added to the box loss
    iou_loss_weight: float = 1.0
    steps_per_execution: int = 1  # steps in one call of the compiled function
    freeze: tuple[str, ...] | None = (
        None  # name parts or regular expressions: layers that do not train
    )
    accumulation_steps: int = 1  # parts of a batch that go through the network one after the other
    mixed_precision: str | None = None  # 'mixed_float16' or 'mixed_bfloat16', Keras' own names
    recompute: bool = False  # gradient checkpointing: a forward more, about half the memory
    jit_compile: bool = False  # the train step through XLA
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """Post-processing; the official name of this section is `nms_configs`."""

    method: str = 'gaussian'  # 'gaussian' soft NMS or 'hard'
    iou_thresh: float = 0.5  # hard NMS only
    sigma: float = 0.5  # gaussian only; the paper's sigma
    score_thresh: float = 0.001
    per_class: bool = True  # False: classes suppress one another
    max_nms_inputs: int = (
        5000  # best (anchor, class) pairs that enter NMS; 0: best class of each anchor
    )
    max_output_size: int = 100


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a configuration was published to reach; never read by the code, checked by tests."""

    val_ap: float | None = None  # COCO val2017
    trainable_params: int | None = None
    gflops: float | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """All sections. Change a copy with `load_config(config, overrides)`."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    detect: DetectConfig = DetectConfig()
    expected: Expected = Expected()

    def to_dict(self):
        """Plain nested dict of builtin types, fit for yaml and json."""
        return plain(dataclasses.asdict(self))


PRESETS = {  # of the section `detect`: load_config(name, 'detect=fast')
    'official_eval': dataclasses.asdict(DetectConfig()),  # how the published figures were evaluated
    'fast': {
        **dataclasses.asdict(DetectConfig()),
        'method': 'hard',
        'score_thresh': 0.05,
        'max_nms_inputs': 500,
    },
}
NMS_METHODS = ('gaussian', 'hard', 'linear', 'diou')  # the last two: numpy_nms alone
PRECISIONS = (None, 'mixed_float16', 'mixed_bfloat16')
SECTIONS = {field.name: field.type for field in dataclasses.fields(Config)}


def class_ids(model_config):
    """The data set's own id of each class, in class order: a tuple of num_classes ints."""
    return tuple(model_config.label_map or range(1, model_config.num_classes + 1))


def class_names(model_config):
    """The name of each class, in class order; the id as text where no label_map is set."""
    labels = model_config.label_map or {i: str(i) for i in class_ids(model_config)}
    return tuple(labels.values())
