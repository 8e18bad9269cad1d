"""`efficientdet COMMAND`: lists the commands, or imports TensorFlow and runs one."""

import difflib
import importlib
import sys

from keras_efficientdet.commands import command

# A line each, so that the list needs none of their imports.
COMMANDS = {
    'train': 'train a detector on a data set of any known format',
    'evaluate': 'COCO metrics of a trained detector, for all classes and for each',
    'detect': 'find objects in images or a video',
    'export': 'write a SavedModel, TFLite, ONNX or OpenVINO model',
    'serve': 'serve a SavedModel over REST and gRPC',
    'doctor': 'find faults in data and settings before training',
    'records': 'convert a labelled data set to TFRecords',
    'benchmark': 'measure latency and memory in every installed engine',
    'ablation': 'train variants of a model for equally long and compare cost and AP',
    'models': 'list the models: size, cost, published accuracy, weights',
    'version': 'print the versions that a bug report needs',
}


def main() -> None:
    """Runs the command that sys.argv names and exits with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs `efficientdet ARGUMENTS`; returns the exit status."""
    name, *rest = arguments or ['--help']
    if name in ('--help', '-h', 'help'):
        print(overview())
        return 0
    if name not in COMMANDS:
        print(f'error: {_unknown(name)}', file=sys.stderr)
        return 1
    command.import_tensorflow()
    module = importlib.import_module(f'keras_efficientdet.commands.{name}')
    return command.run(module, f'efficientdet {name}', rest)


def overview() -> str:
    """The help text of `efficientdet` itself."""
    listed = [f'  {name:<10} {text}' for name, text in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: efficientdet COMMAND [--flag=value ...] [key=value ...]',
            '',
            *listed,
            '',
            '`efficientdet COMMAND --help` shows an example and the flags of a command. key=value',
            'words set keys of the configuration (keras_efficientdet/config/schema.py).',
        ]
    )


def _unknown(name):
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f'did you mean {close[0]}?' if close else f'valid: {", ".join(COMMANDS)}'
    return f'unknown command {name!r}; {hint}'
