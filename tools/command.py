"""For tools that are not commands: imports the package as quietly as `efficientdet` does.

Import it before keras_efficientdet.
"""

import importlib
import sys

# Imported as by the command, the package leaves out TensorFlow and its public names.
_program, sys.argv[0] = sys.argv[0], 'efficientdet'
import keras_efficientdet
from keras_efficientdet.commands import command

command.import_tensorflow()
sys.argv[0] = _program
importlib.reload(keras_efficientdet)  # with the public names


def run(tool):
    """Runs a tool's module, which is made as a command is, with the arguments of this process."""
    sys.exit(command.run(tool, f'python {_program}', sys.argv[1:]))
