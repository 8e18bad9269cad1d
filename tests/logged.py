"""What the library logs, on the stdout of a process that a test has started."""

import logging
import sys


def to_stdout():
    logger = logging.getLogger('keras_efficientdet')
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.setLevel(logging.INFO)
