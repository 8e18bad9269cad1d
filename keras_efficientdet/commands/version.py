"""Prints what a bug report needs: versions, devices and the processor.

Example:
  efficientdet version --json
"""

import importlib
import importlib.metadata
import logging
import pathlib
import platform

import keras
import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port  # the only place that tells oneDNN

from keras_efficientdet.commands import command

_log = logging.getLogger(__name__)

PACKAGES = ('numpy', 'pycocotools', 'Pillow')
OPTIONAL = (
    'tf2onnx',
    'onnx',
    'onnxruntime',
    'openvino',
    'nncf',
    'ai-edge-litert',
    'av',
    'mlserver',
    'tensorflow-datasets',
    'apache-beam',
)
# Of /proc/cpuinfo: what the speed of float and of int8 arithmetic depends on.
CPU_FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx_vnni')


def define(flags):
    command.define_json(flags)


def main(given):
    found = versions()
    for key, value in found.items():
        if isinstance(value, dict):
            value = ', '.join(f'{name} {text}' for name, text in value.items()) or 'none'
        _log.info('%-20s %s', key, ', '.join(value) if isinstance(value, list) else value)
    return command.Outcome(found)


def versions():
    """What `version` prints, as a dict for json."""
    optional = {name: _installed(name) for name in OPTIONAL}
    return {
        'keras_efficientdet': importlib.import_module('keras_efficientdet').__version__,
        'python': platform.python_version(),
        'platform': platform.platform(),
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
        **{name: _installed(name) or 'not installed' for name in PACKAGES},
        'optional': {name: version for name, version in optional.items() if version},
        'devices': [_device(device) for device in tf.config.list_physical_devices()],
        'onednn': 'on' if _has_onednn() else 'off',
        'cpu_flags': _cpu_flags(),
    }


def _installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(device):
    details = tf.config.experimental.get_device_details(device)
    return ' '.join([device.device_type, details.get('device_name', '')]).strip()


def _has_onednn():
    """Whether TensorFlow's operations use oneDNN, which changes the last digits of results."""
    return bool(_pywrap_util_port.IsMklEnabled())


def _cpu_flags():
    info = pathlib.Path('/proc/cpuinfo')
    if not info.is_file():
        return ['unknown']
    words = set(info.read_text(encoding='utf-8').split())
    return [name for name in CPU_FLAGS if name in words]
