"""What a model, its data, its training and its detections are set to.

`schema` holds every key with its type, default and range, `loading` reads and changes a Config.
"""

from keras_efficientdet.config.choices import AUTOAUGMENT_POLICIES, NMS_METHODS
from keras_efficientdet.config.label_maps import LabelMap
from keras_efficientdet.config.loading import HPARAMS, check_config, load_config, model_names
from keras_efficientdet.config.schema import (
    PRESETS,
    SECTIONS,
    Config,
    DetectConfig,
    ModelConfig,
    TrainConfig,
    class_ids,
    class_names,
)

__all__ = [
    'AUTOAUGMENT_POLICIES',
    'HPARAMS',
    'NMS_METHODS',
    'PRESETS',
    'SECTIONS',
    'Config',
    'DetectConfig',
    'LabelMap',
    'ModelConfig',
    'TrainConfig',
    'check_config',
    'class_ids',
    'class_names',
    'load_config',
    'model_names',
]
