"""The command line as users start it: as a process of its own, through `-m` or through tools/."""

import os
import pathlib
import subprocess
import sys

TOOLS = pathlib.Path(__file__).resolve().parents[1] / 'tools'


def start(*arguments, cwd=None, encoding=None):
    """The finished process of `python -m keras_efficientdet ARGUMENTS`."""
    return _started([sys.executable, '-m', 'keras_efficientdet', *arguments], cwd, encoding)


def start_tool(tool, *arguments, cwd=None):
    """The finished process of `python tools/TOOL.py ARGUMENTS`."""
    return _started([sys.executable, TOOLS / f'{tool}.py', *arguments], cwd)


def _started(command, cwd, encoding=None):
    left_out = ('KERAS_EFFICIENTDET_TRACEBACK', 'TF_CPP_MIN_LOG_LEVEL')
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        encoding=encoding,
        check=False,
        cwd=cwd,
        env=environment,
    )
