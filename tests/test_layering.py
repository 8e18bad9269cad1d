"""The shape of the code itself: imports go one way, files stay small."""
import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'keras_efficientdet'
# Packages are named as they are imported: `training` is training/__init__.py, `training.loop` a file in it.
ORDER = (
    'config_values', 'config', 'label_maps', 'official_hparams', 'writing',                     # configuration, files
    'replicas', 'layers', 'blocks', 'efficientnet', 'bifpn', 'heads',                           # network
    'boxes', 'anchors', 'matching', 'postprocess', 'losses', 'iou_losses', 'anchor_head',       # detection
    'checkpoint_files', 'checkpoints', 'pretrained', 'released', 'class_count', 'images', 'models',   # models
    'numpy_nms', 'ensemble',                                                                    # official and joint detection
    'augment.geometry', 'augment.color', 'augment.affine', 'augment.masks', 'augment.box_only', # augmentation
    'augment.operations', 'augment.policies', 'augment.mixing', 'augment',
    'records', 'record_writer',                                                                 # data
    'formats', 'formats.photos', 'formats.coco', 'formats.voc', 'formats.yolo', 'formats.csv_table', 'formats.tfds',
    'formats.examples', 'formats.folder', 'formats.beam', 'cache', 'inputs', 'data',            # any format to records
    'evaluation', 'analysis', 'drawing',                                                        # looking
    'doctor.findings', 'doctor.pictures', 'doctor.labels', 'doctor.boxes', 'doctor.splits',     # before training
    'doctor.anchors', 'doctor.settings', 'doctor.examination', 'doctor.batch', 'doctor',
    'report.curves', 'report.confusion', 'report.gallery', 'report.html', 'report.writer', 'report',
    'training.schedules', 'training.recipes', 'training.state', 'training.callbacks', 'training.pictures',
    'training.resume', 'training.full_disk', 'training.interrupts', 'training.nonfinite', 'training.freezing',
    'training.accumulation', 'training.recompute', 'training.strategies', 'training.loop',
    'training.step_memory', 'training.batch_size', 'training', 'doctor.overfit',
    'export.labels', 'export.frozen', 'export.upright', 'export.savedmodel',  # use
    'export.calibration', 'export.tflite_metadata', 'export.tflite', 'export.onnx', 'export.openvino', 'export',
    'detections', 'video', 'pictures', 'engines.keras', 'engines.savedmodel', 'engines.tflite', 'engines.onnx',
    'engines.openvino', 'engines', 'serving', 'results', 'bulk', 'serving_beam',    # models at work
    'serving_mlserver', '__init__')
FILES = sorted([*PACKAGE.rglob('*.py'), *(ROOT / 'tools').glob('*.py')])


def path_of(module):
    package = PACKAGE.joinpath(*module.split('.'))
    return package / '__init__.py' if package.is_dir() else package.with_suffix('.py')


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' and len(parts) > 1 else parts)


def imported(path):
    """Names of the package's modules that a file imports, wherever in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            if node.module.split('.')[0] == 'keras_efficientdet':
                base = node.module.split('.')[1:]
                modules |= {_existing([*base, a.name]) for a in node.names}
        elif isinstance(node, ast.Import):
            modules |= {_existing(a.name.split('.')[1:]) for a in node.names if a.name.split('.')[0] == 'keras_efficientdet'}
    return modules


def _existing(parts):
    """The module that a dotted name stands in: itself, or the one that holds it."""
    while parts and not path_of('.'.join(parts)).is_file():
        parts = parts[:-1]
    return '.'.join(parts) or '__init__'


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(module_of(p) for p in PACKAGE.rglob('*.py'))


@pytest.mark.parametrize('module', ORDER)
def test_a_module_imports_only_earlier_ones(module):
    assert imported(path_of(module)) <= set(ORDER[:ORDER.index(module)])


def test_imports_are_seen():
    assert imported(PACKAGE / 'heads.py') == {'blocks', 'layers'}
    assert imported(path_of('training')) == {'training.callbacks', 'training.loop', 'training.nonfinite', 'training.strategies'}
    assert {'records', 'augment', 'inputs'} < imported(PACKAGE / 'data.py')


def test_the_package_never_imports_tools_or_tests():
    names = {p.stem for folder in ('tools', 'tests') for p in (ROOT / folder).glob('*.py')}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, 'module', None)]
            assert not names & {str(name).split('.')[0] for name in found}, path


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_files_are_small_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert 'utils' not in path.stem
    assert ast.get_docstring(ast.parse(text))
