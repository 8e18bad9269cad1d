"""Findings as records: ids that can be skipped, text, and advice that names only what exists."""

import ast
import dataclasses
import json
import pathlib
import re

import pytest

import keras_efficientdet
from keras_efficientdet import load_config
from keras_efficientdet.doctor import IDS, Finding, findings_text
from keras_efficientdet.doctor.findings import SEVERITIES, ids_of, new_findings, without

ROOT = pathlib.Path(keras_efficientdet.__file__).parent
FILES = [*sorted((ROOT / 'doctor').glob('*.py')), ROOT / 'training' / 'overfit.py']


def finding(id='boxes.outside', severity='warning', found='found', fix='fix', **more):
    return Finding(id, severity, found, fix, **more)


def test_an_id_that_is_not_in_the_table_is_refused():
    with pytest.raises(ValueError, match=r"'boxes\.outsid' is not in the table"):
        finding('boxes.outsid')


def test_every_id_of_the_table_is_reported_by_some_check():
    text = ''.join(path.read_text() for path in FILES if path.name != 'findings.py')
    assert [id_ for id_ in IDS if f"'{id_}'" not in text] == []


def test_ids_are_an_area_and_a_subject():
    assert all(re.fullmatch(r'[a-z]+\.[a-z_]+', id_) for id_ in IDS)


def test_a_finding_as_json():
    row = finding(split='val', numbers={'faulty': 3, 'boxes': 7}).to_dict()
    assert json.loads(json.dumps(row)) == {
        'id': 'boxes.outside',
        'severity': 'warning',
        'found': 'found',
        'fix': 'fix',
        'split': 'val',
        'numbers': {'faulty': 3, 'boxes': 7},
    }


def test_the_same_fault_of_the_same_split_is_known_whatever_its_text():
    known = [finding(split='train', found='6 of 72 boxes')]
    again = finding(split='train', found='5 of 71 boxes')
    others = [finding(split='val'), finding('boxes.format', split='train')]
    assert new_findings([again, *others], known) == others


@pytest.mark.parametrize(
    ('skip', 'left'),
    [
        ((), ['boxes.outside', 'boxes.format', 'labels.rare']),
        (('boxes.outside',), ['boxes.format', 'labels.rare']),
        (['boxes'], ['labels.rare']),
        ('boxes', ['labels.rare']),
        (('boxes', 'labels.rare', 'splits'), []),
    ],
    ids=str,
)
def test_findings_are_skipped_by_id_or_area(skip, left):
    findings = [finding(id_) for id_ in ('boxes.outside', 'boxes.format', 'labels.rare')]
    assert [f.id for f in without(findings, skip)] == left


@pytest.mark.parametrize(
    ('wrong', 'nearest'), [('boxes.outsid', 'boxes.outside'), ('label', 'labels'), ('box', 'boxes')]
)
def test_an_unknown_name_in_skip_names_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=f"'{wrong}' is not the id of a check.*'{nearest}'"):
        ids_of([wrong])


def test_part_of_an_area_selects_nothing():
    with pytest.raises(ValueError, match="'' is not the id of a check"):
        ids_of([''])


def test_the_text_has_the_worst_first_and_short_lines():
    long = 'a sentence of many words ' * 20
    findings = [finding(severity=s, found=long, fix=long) for s in reversed(SEVERITIES)]
    text = findings_text([*findings, dataclasses.replace(findings[0], id='labels.rare')])
    assert text.startswith('doctor: 1 error, 1 warning, 2 notes\n')
    assert text.index('ERROR ') < text.index('WARNING ') < text.index('NOTE ')
    assert max(map(len, text.splitlines())) <= 100


def texts():
    """All strings of the checks that are no docstrings: what findings are made of."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docstrings:
                yield node.value


def exists(name):
    """Whether a name, as `keras_efficientdet.x` or as `x`, is a public name of the package."""
    value = keras_efficientdet
    for part in name.removeprefix('keras_efficientdet.').split('.'):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_names_in_backquotes_exist():
    names = {name for text in texts() for name in re.findall(r'`([\w.]+)`', text)}
    assert 'keras_efficientdet.label_overrides' in names
    assert [name for name in names if not exists(name)] == []


def test_dotted_names_are_ids_or_exist():
    """`records.label_overrides` was advised, which never existed."""
    dotted = {n for text in texts() for n in re.findall(r'[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+', text)}
    names = {name for name in dotted - set(IDS) if not name.endswith(('.csv', '.tfrecord'))}
    assert 'keras_efficientdet.label_overrides' in names
    assert [name for name in names if not exists(name)] == []


def test_settings_that_are_advised_exist():
    """Every key=value of the texts is a key of the configuration, a flag or a parameter."""
    sections = load_config('efficientdet-d0').to_dict().values()
    known = {key for section in sections for key in section}
    known |= {'weights', 'on_class_mismatch', 'iscrowd'}
    advised = {key for text in texts() for key in re.findall(r'([a-z_]{2,})=', text)}
    assert {'max_output_size', 'anchor_scale', 'lr_warmup_init'} <= advised
    assert advised - known == set()
