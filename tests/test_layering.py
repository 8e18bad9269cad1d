"""The shape of the code itself: imports go one way, files stay small."""
import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'keras_efficientdet'
ORDER = ('config_values', 'config', 'label_maps', 'official_hparams',                                          # configuration
         'layers', 'blocks', 'efficientnet', 'bifpn', 'heads',                                # network
         'boxes', 'anchors', 'matching', 'postprocess', 'losses', 'iou_losses', 'anchor_head',     # detection
         'checkpoint_files', 'checkpoints', 'pretrained', 'released', 'images', 'models',     # models
         'numpy_nms', 'ensemble',                                                             # official and joint detection
         'augment', 'records', 'coco', 'data',                                                # data
         'schedules', 'training_state', 'evaluation', 'drawing', 'doctor', 'training',        # training
         'export', 'serving', '__init__')                                                     # use
FILES = sorted([*PACKAGE.glob('*.py'), *(ROOT / 'tools').glob('*.py')])


def imported(path):
    """Names of the package's modules that a file imports, wherever in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            if node.module == 'keras_efficientdet':
                modules |= {a.name if (PACKAGE / f'{a.name}.py').is_file() else '__init__' for a in node.names}
            elif node.module.startswith('keras_efficientdet.'):
                modules.add(node.module.split('.')[1])
        elif isinstance(node, ast.Import):
            modules |= {a.name.split('.')[1] if '.' in a.name else '__init__' for a in node.names
                        if a.name.split('.')[0] == 'keras_efficientdet'}
    return modules


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(p.stem for p in PACKAGE.glob('*.py'))


@pytest.mark.parametrize('module', ORDER)
def test_a_module_imports_only_earlier_ones(module):
    assert imported(PACKAGE / f'{module}.py') <= set(ORDER[:ORDER.index(module)])


def test_imports_are_seen():
    assert imported(PACKAGE / 'doctor.py') == {'anchor_head', 'config', 'data', 'matching'}
    assert {'images', 'records', 'augment'} < imported(PACKAGE / 'data.py')


def test_the_package_never_imports_tools_or_tests():
    names = {p.stem for folder in ('tools', 'tests') for p in (ROOT / folder).glob('*.py')}
    for path in PACKAGE.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, 'module', None)]
            assert not names & {str(name).split('.')[0] for name in found}, path


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_files_are_small_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert 'utils' not in path.stem
    assert ast.get_docstring(ast.parse(text))
