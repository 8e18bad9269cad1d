"""Optional packages: imported where they are needed, named where they are missing."""

import importlib


def require(module, extra):
    """The module of an optional engine, or an ImportError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} is needed ({error}); install it together with this package, which keeps numpy and '
            f'protobuf at versions that TensorFlow bears: pip install "keras-efficientdet[{extra}]"'
        ) from error
