"""Keras 2 and 3 are told apart in one file."""

import ast
import pathlib
import re

import keras
import pytest

from keras_efficientdet import keras_compat

PACKAGE = pathlib.Path(keras_compat.__file__).parent
OTHERS = sorted(p for p in PACKAGE.rglob('*.py') if p.name != 'keras_compat.py')
# A test for the generation of Keras, or a private name that differs between the two.
TELLING = (
    r'keras\.(__version__ *[.<>=\[]|version\()',
    r'hasattr\((keras|optimizer|layer|variable|node|scale)\b',
    r'\bKERAS_3\b',
    r'_keras_history|_inbound_nodes|inner_optimizer|_loss_tracker|_loss_scale\b|\._learning_rate\b',
    r'get_unscaled_gradients|get_scaled_loss|\.scale_loss\b|keras_inputs|input_tensors',
    r'keras\.(ops|src|Variable)\b',
)


@pytest.mark.parametrize('path', OTHERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_other_file_tells_the_generations_apart(path):
    assert re.findall('|'.join(f'(?:{t})' for t in TELLING), path.read_text()) == []


def test_it_imports_nothing_of_the_package():
    tree = ast.parse(pathlib.Path(keras_compat.__file__).read_text())
    imported = [n.names[0].name for n in tree.body if isinstance(n, ast.Import)]
    assert imported == ['typing', 'keras', 'tensorflow']
    assert not any(isinstance(n, ast.ImportFrom) for n in ast.walk(tree))


def test_every_function_says_what_differs():
    tree = ast.parse(pathlib.Path(keras_compat.__file__).read_text())
    for function in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
        text = ast.get_docstring(function)
        assert 'Keras 2' in text, function.name


def test_the_generation_is_known():
    major = int(keras.__version__.partition('.')[0])
    assert (major == 3) == keras_compat.KERAS_3
