"""What a model, its data and its training are set to: the schema, and how a Config is read and changed."""

from keras_efficientdet.config.loading import HPARAMS, check_config, load_config, model_names
from keras_efficientdet.config.schema import (
    AUTOAUGMENT_POLICIES,
    NMS_METHODS,
    PRECISIONS,
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
    'PRECISIONS',
    'PRESETS',
    'SECTIONS',
    'Config',
    'DetectConfig',
    'ModelConfig',
    'TrainConfig',
    'check_config',
    'class_ids',
    'class_names',
    'load_config',
    'model_names',
]
