"""What `pip install` brings: every module and table of the package, and the command."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

pytest.importorskip('wheel', reason='the `test` extra is not installed')
ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILT_FROM = (
    'keras_efficientdet',
    'hparams',
    'pyproject.toml',
    'requirements.txt',
    'README.md',
    'LICENSE',
)


def built(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """A copy of what the wheel is built from, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp('sources')
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    """The open wheel. It is built without a network, by the setuptools of this environment."""
    out = tmp_path_factory.mktemp('wheel')
    flags = '--no-deps', '--no-build-isolation', '--no-index', '--quiet', '--wheel-dir', out
    built('-m', 'pip', 'wheel', '.', *flags, cwd=sources)
    (path,) = out.glob('*.whl')
    with zipfile.ZipFile(path) as file:
        yield file


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    package = ROOT / 'keras_efficientdet'
    wanted = {str(path.relative_to(ROOT)) for path in package.rglob('*.py')}
    wanted |= {f'keras_efficientdet/hparams/{p.name}' for p in (ROOT / 'hparams').glob('*.yaml')}
    wanted |= {'keras_efficientdet/py.typed', 'keras_efficientdet/weights/released.yaml'}
    held = {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert held == wanted


def test_the_wheel_brings_the_command(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith('entry_points.txt')]
    assert 'efficientdet = keras_efficientdet.commands.main:main' in wheel.read(name).decode()


def test_the_wheel_has_the_version_of_the_package(wheel):
    from keras_efficientdet import __version__

    (name,) = [name for name in wheel.namelist() if name.endswith('.dist-info/METADATA')]
    metadata = wheel.read(name).decode()
    assert f'\nVersion: {__version__}\n' in metadata
    assert 'Requires-Dist: pycocotools' in metadata


def test_the_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    """Without hparams or requirements.txt it would build another wheel, or none."""
    code = 'from setuptools import build_meta; print(build_meta.build_sdist("dist"))'
    built('-c', code, cwd=sources)
    (archive,) = (sources / 'dist').glob('*.tar.gz')
    flags = '--no-deps', '--no-build-isolation', '--no-index', '--quiet', '--wheel-dir', tmp_path
    built('-m', 'pip', 'wheel', archive, *flags, cwd=tmp_path)
    (again,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(again) as file:
        assert sorted(file.namelist()) == sorted(wheel.namelist())
