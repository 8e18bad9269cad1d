"""The shape of the code: imports go one way between rooms; files and functions stay small."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'keras_efficientdet'
# A room may import from itself and from those before it. Files of the root are rooms of their own.
ROOMS = (
    'errors',
    'optional',
    'threads',
    'files',
    'keras_compat',
    'config',
    'ops',
    'imaging',
    'weights',
    'network',
    'data',
    'evaluation',
    'doctor',
    'export',
    'training',
    'inference',
    'commands',
    '__init__',
    '__main__',
)
FILES = sorted([*PACKAGE.rglob('*.py'), *(ROOT / 'tools').glob('*.py')])


def module_of(path):
    """'network.heads.anchor' of a file; a package is named as it is imported."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' and len(parts) > 1 else parts)


MODULES = {module_of(p): p for p in PACKAGE.rglob('*.py')}


def room_of(module):
    return module.split('.')[0]


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
            names = [a.name.split('.') for a in node.names]
            modules |= {_existing(name[1:]) for name in names if name[0] == 'keras_efficientdet'}
    return modules


def _existing(parts):
    """The module that a dotted name stands in: itself, or the one that holds it."""
    while parts and '.'.join(parts) not in MODULES:
        parts = parts[:-1]
    return '.'.join(parts) or '__init__'


def circle(graph):
    """A list of modules that import each other in a ring, or None.

    graph: {module: modules that it imports}.
    """
    done, open_ = set(), []

    def visit(module):
        if module in open_:
            return [*open_[open_.index(module) :], module]
        if module in done:
            return None
        open_.append(module)
        found = next(filter(None, map(visit, sorted(graph[module]))), None)
        open_.pop()
        done.add(module)
        return found

    return next(filter(None, map(visit, sorted(graph))), None)


def test_every_room_has_its_place():
    assert {room_of(m) for m in MODULES} <= set(ROOMS)
    assert len({room_of(m) for m in MODULES}) <= 20


def test_the_map_lists_the_rooms_in_this_order():
    text = (ROOT / 'WORKSPACE.md').read_text()
    rooms = text[text.index('## Rooms') : text.index('## I want to')]
    firsts = ' '.join(re.findall(r'^\| (`[^|]*) \|', rooms, re.MULTILINE))
    listed = [name.removesuffix('.py').rstrip('/') for name in re.findall('`([^`]+)`', firsts)]
    assert listed == [room for room in ROOMS if not room.startswith('__')]


@pytest.mark.parametrize('module', sorted(MODULES))
def test_a_module_imports_only_from_its_room_and_earlier_ones(module):
    place = ROOMS.index(room_of(module))
    later = {m for m in imported(MODULES[module]) if ROOMS.index(room_of(m)) > place}
    assert not later


def test_no_modules_import_each_other_in_a_ring():
    assert circle({m: imported(p) - {m} for m, p in MODULES.items()}) is None


def test_a_ring_is_seen():
    assert circle({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['b', 'c', 'b']
    assert circle({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}) is None


def test_imports_are_seen():
    assert {'network.blocks', 'network.layers'} <= imported(MODULES['network.heads.head'])
    assert {'training.callbacks', 'training.fit'} < imported(MODULES['training'])
    assert {'data.records', 'data.augment'} < imported(MODULES['data.pipeline'])


def test_only_the_heads_know_the_anchor_head():
    """Everything else sees the record of a head."""
    knowing = {m for m, p in MODULES.items() if 'network.heads.anchor' in imported(p)}
    assert knowing == {'network.heads'}


def test_the_package_never_imports_tools_or_tests():
    names = {p.stem for folder in ('tools', 'tests') for p in (ROOT / folder).glob('*.py')}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            found = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [getattr(node, 'module', None)]
            )
            assert not names & {str(name).split('.')[0] for name in found}, path


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_files_and_functions_are_small(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300
    assert 'utils' not in path.stem
    assert ast.get_docstring(tree)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {
        f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > 50
    }
    assert not long


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_text_files_are_utf8_on_every_system(path):
    """Without `encoding` Windows reads and writes cp1252, which few names survive."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and _opens_text(node):
            keywords = {keyword.arg for keyword in node.keywords}
            assert 'encoding' in keywords, f'{path.name}:{node.lineno}: {ast.unparse(node)}'


def _opens_text(call):
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in ('read_text', 'write_text')
    modes = [a.value for a in call.args[1:2] if isinstance(a, ast.Constant)] or ['r']
    return isinstance(call.func, ast.Name) and call.func.id == 'open' and 'b' not in modes[0]
