"""What can be known to be wrong with data and settings before training."""

from keras_efficientdet.doctor.anchors import anchor_coverage
from keras_efficientdet.doctor.examination import before_training, examine, examine_source
from keras_efficientdet.doctor.findings import Finding, report

__all__ = ['Finding', 'anchor_coverage', 'before_training', 'examine', 'examine_source', 'report']
