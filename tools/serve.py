r"""Serves an exported SavedModel over the KServe V2 protocol, REST and gRPC, by mlserver (docs/SERVING.md).

Example:
  python tools/serve.py --model=exported/cells --port=8080
"""

import asyncio
import json
import logging
import pathlib
import tempfile

from absl import flags
from command import run

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.inference.engines.savedmodel import folder_of
from keras_efficientdet.optional import require

_MODEL = flags.DEFINE_string(
    'model',
    None,
    'Folder that export.py wrote, or one version in it; default: the newest version.',
    required=True,
)
_NAME = flags.DEFINE_string(
    'name', None, 'Name of the model in the URL; default: the name of the folder.'
)
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on; 0.0.0.0 for all.')
_PORT = flags.DEFINE_integer('port', 8080, 'Port of REST.')
_GRPC_PORT = flags.DEFINE_integer('grpc_port', 8081, 'Port of gRPC.')
_METRICS_PORT = flags.DEFINE_integer('metrics_port', 8082, 'Port of /metrics.')
_MAX_PIXELS = flags.DEFINE_integer(
    'max_pixels',
    40_000_000,
    'Pixels of all pictures of one request; more are refused.',
    lower_bound=1,
)
_MAX_BATCH_SIZE = flags.DEFINE_integer(
    'max_batch_size',
    8,
    'Requests that go through the network together; 1: each alone.',
    lower_bound=1,
)
_MAX_BATCH_TIME = flags.DEFINE_float(
    'max_batch_time', 0.01, 'Seconds that a request waits for others.', lower_bound=1e-6
)


def main(_):
    mlserver = require('mlserver', 'serve')
    given = pathlib.Path(_MODEL.value)
    folder = folder_of(given) or given
    read_labels(folder)  # an export of another project is refused before anything listens
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root, 'model-settings.json')
        path.write_text(json.dumps(_settings(folder)))
        logging.getLogger(
            'mlserver'
        ).propagate = False  # absl's own handler would print each line again
        asyncio.run(_serve(mlserver, root, mlserver.ModelSettings.parse_file(str(path))))


async def _serve(mlserver, root, model):
    longest = 3 * _MAX_PIXELS.value + (1 << 20)
    settings = mlserver.Settings(
        host=_HOST.value,
        http_port=_PORT.value,
        grpc_port=_GRPC_PORT.value,
        metrics_port=_METRICS_PORT.value,
        grpc_max_message_length=min(longest, 2**31 - 1),
        model_repository_root=root,
        parallel_workers=0,
    )
    await mlserver.MLServer(settings).start(
        [model]
    )  # made inside the loop, whose signal handlers it sets


def _settings(folder):
    extra = {
        'max_pixels': _MAX_PIXELS.value,
        'max_batch_size': _MAX_BATCH_SIZE.value,
        'max_batch_time': _MAX_BATCH_TIME.value,
    }
    name = (
        _NAME.value
        or (folder.resolve().parent if folder.name.isdecimal() else folder.resolve()).name
    )
    return {
        'name': name,
        'implementation': 'keras_efficientdet.inference.mlserver.DetectorRuntime',
        'parameters': {'uri': str(folder.resolve()), 'version': folder.name, 'extra': extra},
    }


if __name__ == '__main__':
    run(main)
