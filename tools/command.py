"""For tools that are not commands: imports the package as quietly as `efficientdet` does.

Import it before keras_efficientdet.
"""

import importlib
import sys


def _import_quietly():
    """Imports TensorFlow without its start-up noise, and then the package's public names.

    The package imports neither while the program is called `efficientdet`.
    """
    program = sys.argv[0]
    sys.argv[0] = 'efficientdet'
    package = importlib.import_module('keras_efficientdet')
    importlib.import_module('keras_efficientdet.commands.command').import_tensorflow()
    sys.argv[0] = program
    importlib.reload(package)


def run(tool):
    """Runs the module of a tool, made as those of commands are, and exits with its status."""
    from keras_efficientdet.commands import command

    sys.exit(command.run(tool, f'python {sys.argv[0]}', sys.argv[1:]))


_import_quietly()
