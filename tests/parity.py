"""docs/PARITY.md: each official output, the tests that use it, and the largest difference seen on each lane.

As a pytest plugin (`pytest -p parity --parity=lane-a.json`) it watches which golden files each test reads and how far the
numbers compared in it are apart. As a program (`python tests/parity.py lane-a.json lane-b.json`) it writes the table;
`make parity` does all. Exit status 1 if a golden is used by no test and has no reason in tests/goldens/README.md.
"""

import collections
import fnmatch
import inspect
import json
import pathlib
import re
import sys

import numpy as np
import official
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'PARITY.md'
REASONS = ROOT / 'tests' / 'goldens' / 'README.md'
_running, _used, _worst = [None], collections.defaultdict(set), collections.defaultdict(float)


def pytest_addoption(parser):
    parser.addoption('--parity', help='json file for what was compared')


def pytest_configure(config):
    if not config.getoption('--parity'):
        return
    official.path = _watch(official.path, lambda name: _used[name].add(_who()))
    np.testing.assert_allclose = _watch(
        np.testing.assert_allclose, lambda *a, **_: _note(a[0], a[1])
    )
    np.testing.assert_array_equal = _watch(
        np.testing.assert_array_equal, lambda *a, **_: _note(a[0], a[1])
    )
    scalar = type(pytest.approx(1.0))
    scalar.__eq__ = _watch(scalar.__eq__, lambda expected, actual: _note(actual, expected.expected))
    official.difference = _watch(
        official.difference, lambda *a: None, lambda result: _worse(result)
    )


def _watch(function, before, after=lambda result: None):
    def watched(*args, **kwargs):
        before(*args, **kwargs)
        result = function(*args, **kwargs)
        after(result)
        return result

    return watched


def _who():
    """The running test, or the test file whose import reads a golden."""
    if _running[0]:
        return _running[0]
    files = (pathlib.Path(frame.filename).name for frame in inspect.stack())
    return next((name for name in files if name.startswith('test_')), '?')


def _note(ours, official_value):
    try:
        ours, wanted = np.asarray(ours, np.float64), np.asarray(official_value, np.float64)
    except (TypeError, ValueError):
        return
    if (
        ours.shape == wanted.shape
        and wanted.size
        and np.all(np.isfinite(wanted))
        and np.all(np.isfinite(ours))
    ):
        _worse(float(np.max(np.abs(ours - wanted)) / max(np.max(np.abs(wanted)), 1e-12)))


def _worse(difference):
    if _running[0]:
        _worst[_running[0]] = max(_worst[_running[0]], difference)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    _running[0] = f'{pathlib.Path(item.location[0]).name}::{item.name}'
    yield_value = yield
    _running[0] = None
    return yield_value


def pytest_sessionfinish(session):
    target = session.config.getoption('--parity')
    if target:
        content = {'used': {name: sorted(tests) for name, tests in _used.items()}, 'worst': _worst}
        pathlib.Path(target).write_text(json.dumps(content, indent=1))


def table(lanes):
    """Rows [file, tests, worst on each lane, reason] for every file of the golden index."""
    reasons = re.findall(r'^\| `([^`]+)` \|[^|]*\| ([^|]+?) \|$', REASONS.read_text(), re.MULTILINE)
    rows = []
    for name in sorted(official.index_of_files()):
        tests = sorted({t for lane in lanes for t in lane['used'].get(name, ())})
        worst = [
            max((w for test, w in lane['worst'].items() if _reads(test, tests)), default=None)
            for lane in lanes
        ]
        reason = next((text for pattern, text in reasons if fnmatch.fnmatch(name, pattern)), '')
        rows.append(
            [name, sorted({t.partition('[')[0] for t in tests}), worst, '' if tests else reason]
        )
    return rows


def _reads(test, readers):
    """Whether a figure counts: a test that notices a mutation compares what must differ; a file that reads a golden when it is
    imported has it for its tests of official outputs."""
    return 'notice' not in test and (
        test in readers or ('::test_official' in test and test.partition('::')[0] in readers)
    )


def page(rows):
    lines = [
        '# Parity with google/automl',
        '',
        'Made by `make parity`. Each file of official outputs, the tests that read it, and the largest difference in those',
        'tests on each lane: of values relative to the largest official one, of forward passes relative to the standard',
        'deviation. A test that reads several files has one figure. 0 is equal to the last bit; = is for names, tables and',
        'structures, which a test compares as they are.',
        '',
        '| golden | tests | Keras 2.15 | Keras 3 | not used, because |',
        '|---|---|---|---|---|',
    ]
    for name, tests, worst, reason in rows:
        unmeasured = '=' if tests else ''
        figures = [unmeasured if w is None else f'{w:.1e}' if w else '0' for w in worst]
        lines.append(f'| {name} | {", ".join(tests)} | {" | ".join(figures)} | {reason} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    found = table([json.loads(pathlib.Path(p).read_text()) for p in sys.argv[1:]])
    PAGE.write_text(page(found))
    empty = [row[0] for row in found if not row[1] and not row[3]]
    print(
        f'{len(found)} golden files, {len(empty)} neither used nor explained -> {PAGE.relative_to(ROOT)}'
    )
    sys.exit(f'not explained: {", ".join(empty)}' if empty else 0)
