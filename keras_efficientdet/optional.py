"""Optional packages: imported where they are needed, named where they are missing."""

import importlib
import types


def require(module: str, extra: str) -> types.ModuleType:
    """Imports an optional package.

    Args:
      module: name to import.
      extra: the extra of this package (pyproject.toml) that installs it.
    Raises:
      ImportError: it is missing or broken; the message gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} is needed ({error}). Install it through this package, which keeps numpy and '
            f'protobuf at versions that TensorFlow works with: '
            f'pip install "keras-efficientdet[{extra}]"'
        ) from error
