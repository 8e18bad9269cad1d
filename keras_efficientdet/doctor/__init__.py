"""What can be known to be wrong with data and settings before training.

A check is a function of a `Split` (labels as annotated, see split.py) or of a Config that returns
a `Finding` or None: what was found, with its numbers, and what to do. To add one: write the
function in the file of its subject (labels, boxes, splits, anchors, settings), call it from the
`check_...` function there, add its id to `findings.IDS`, and plant the fault in
tests/test_doctor_*.py, where it must be found and nothing else (tests/planted.py has data without
faults).
"""

from keras_efficientdet.doctor.examination import before_training, examine, examine_source
from keras_efficientdet.doctor.findings import IDS, Finding, findings_text, new_findings

__all__ = [
    'IDS',
    'Finding',
    'before_training',
    'examine',
    'examine_source',
    'findings_text',
    'new_findings',
]
