"""An evaluation as a page to look at, to print and to send."""

from keras_efficientdet.evaluation.report.writer import write_report

__all__ = ['write_report']
