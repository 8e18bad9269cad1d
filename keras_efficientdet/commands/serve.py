"""Serves an exported SavedModel over the KServe V2 protocol, REST and gRPC (docs/SERVING.md).

Example:
  efficientdet serve --model=exported/cells --port=8080
"""

import asyncio
import json
import logging
import pathlib
import sys
import tempfile

from keras_efficientdet.export.labels import read_labels, version_folder
from keras_efficientdet.optional import require


def define(flags):
    flags.DEFINE_string(
        'model',
        None,
        'Folder that `efficientdet export` wrote, or one version in it; default: the newest.',
        required=True,
    )
    flags.DEFINE_string(
        'name', None, 'Name of the model in the URL; default: the name of the folder.'
    )
    flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on; 0.0.0.0 for all interfaces.')
    flags.DEFINE_integer('port', 8080, 'Port for REST.')
    flags.DEFINE_integer('grpc_port', 8081, 'Port for gRPC.')
    flags.DEFINE_integer('metrics_port', 8082, 'Port for /metrics.')
    flags.DEFINE_integer(
        'max_pixels',
        40_000_000,
        'Most pixels in all images of one request; a larger request is refused.',
        lower_bound=1,
    )
    flags.DEFINE_integer(
        'max_batch_size', 8, 'Requests detected in together; 1: each on its own.', lower_bound=1
    )
    flags.DEFINE_float(
        'max_batch_time', 0.01, 'Seconds that a request waits for others.', lower_bound=1e-6
    )


def main(given):
    mlserver = _mlserver()
    model = pathlib.Path(given.model)
    folder = version_folder(model) or model
    read_labels(folder)  # refuses the export of another project before anything listens
    # absl's handler at the root logger would print each of mlserver's lines again.
    logging.getLogger('mlserver').propagate = False
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root, 'model-settings.json')
        path.write_text(json.dumps(_settings(folder, given)), encoding='utf-8')
        asyncio.run(_serve(mlserver, root, mlserver.ModelSettings.parse_file(str(path)), given))


def _mlserver():
    try:
        return require('mlserver', 'serve')
    except ImportError as error:
        if sys.version_info < (3, 13):
            raise
        version = '.'.join(map(str, sys.version_info[:2]))
        raise ImportError(
            f'mlserver, which serves the model, has no release for Python {version} ({error}). Run '
            '`efficientdet serve` with Python 3.12, or serve the exported folder by TensorFlow '
            'Serving, which needs no Python (docs/SERVING.md)'
        ) from error


async def _serve(mlserver, root, model, given):
    # Three bytes a pixel, and room for the rest of a request; gRPC takes no larger number.
    longest = min(3 * given.max_pixels + (1 << 20), 2**31 - 1)
    settings = mlserver.Settings(
        host=given.host,
        http_port=given.port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        grpc_max_message_length=longest,
        model_repository_root=root,
        parallel_workers=0,
    )
    # Made inside the event loop, because it sets the loop's signal handlers.
    await mlserver.MLServer(settings).start([model])


def _settings(folder, given):
    """The contents of mlserver's model-settings.json."""
    whole = folder.resolve()
    is_version = folder.name.isdecimal()
    extra = {
        'max_pixels': given.max_pixels,
        'max_batch_size': given.max_batch_size,
        'max_batch_time': given.max_batch_time,
    }
    return {
        'name': given.name or (whole.parent if is_version else whole).name,
        'implementation': 'keras_efficientdet.inference.mlserver.DetectorRuntime',
        'parameters': {'uri': str(whole), 'version': folder.name, 'extra': extra},
    }
