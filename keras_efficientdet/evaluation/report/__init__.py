"""An evaluation as a page to read, print and send."""

from keras_efficientdet.evaluation.report.writer import write_report

__all__ = ['write_report']
