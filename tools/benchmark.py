r"""Latency of a detector in every engine that is installed: before, in and after the network, as a table and a chart.

The way of a photo to the network (pre), the network (net) and the whole (total) are files of their own in each engine, made of
the functions that the exports are made of. What the whole takes beyond pre and net is post. Each engine runs in its own process.

Example:
  python tools/benchmark.py --model=efficientdet-lite0 --output=results/benchmark.csv
"""

from command import run

# isort: split
import csv
import importlib.util
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import tensorflow as tf
from absl import flags
from matplotlib.figure import Figure

from keras_efficientdet import efficientdet, load_config
from keras_efficientdet.export.graph import frozen, prepare
from keras_efficientdet.export.onnx import OPSET
from keras_efficientdet.export.openvino import converted
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.network.detector import detections
from keras_efficientdet.training import load_trained

ENGINES = {
    'keras': (),
    'savedmodel': (),
    'tflite': (),
    'onnx': ('tf2onnx', 'onnxruntime'),
    'openvino': ('openvino',),
}
PARTS, COLORS = ('pre', 'net', 'post'), ('#8fb8de', '#1f4e79', '#e08e45')
TIMING = pathlib.Path(__file__).with_name('engine_timing.py')

_MODEL = flags.DEFINE_string(
    'model',
    None,
    'Folder that train.py wrote, .keras file, or a name (weights then are random).',
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    'output', None, 'csv file; rows are added, and a chart is drawn beside it.', required=True
)
_ENGINES = flags.DEFINE_list('engines', list(ENGINES), 'Of these, those that are installed.')
_BATCHES = flags.DEFINE_list(
    'batches', ['1', '8'], 'Photos at a time. TFLite takes them one by one.'
)
_PHOTO = flags.DEFINE_list('photo', ['480', '640'], 'Height and width of the photos.')
_REPEATS = flags.DEFINE_integer(
    'repeats', 30, 'Measured calls, after a fifth as many to warm up.', lower_bound=5
)
_SET = flags.DEFINE_multi_string(
    'set', [], 'key=value of the configuration, any number of times, for a model by name.'
)


def main(_):
    model, photo = _model(), [int(n) for n in _PHOTO.value]
    unknown = sorted(set(_ENGINES.value) - set(ENGINES))
    if unknown:
        raise ValueError(f'--engines: {unknown} not among {list(ENGINES)}')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for engine in _ENGINES.value:
            missing = [
                package for package in ENGINES[engine] if importlib.util.find_spec(package) is None
            ]
            if missing:
                print(f'{engine:<11}left out: {" and ".join(missing)} not installed')
                continue
            WRITERS[engine](model, pathlib.Path(folder), photo)
            rows += [_row(engine, model, batch, photo, folder) for batch in _BATCHES.value]
    if not rows:
        raise ValueError(f'--engines: none of {_ENGINES.value} is installed')
    chart(_append(rows)).savefig(pathlib.Path(_OUTPUT.value).with_suffix('.png'), dpi=110)


def _model():
    path = pathlib.Path(_MODEL.value)
    if path.suffix == '.keras':
        return keras.models.load_model(path, compile=False)
    return (
        load_trained(path) if path.is_dir() else efficientdet(load_config(_MODEL.value, _SET.value))
    )


def functions(model, photo=(None, None), batch=None):
    """{'pre', 'net', 'total'}: tf.functions, photos uint8 [batch, *photo, 3]."""
    config, network = model.detection_config, frozen(model)
    photos = [tf.TensorSpec([batch, *photo, 3], tf.uint8, 'images')]
    prepared = [tf.TensorSpec([batch, *config.model.image_size, 3], tf.float32, 'images')]

    def pre(images):
        return dict(zip(('prepared', 'scale_back'), prepare(images, config), strict=True))

    def total(images):
        ready, scale_back = prepare(images, config)
        return detections(network(ready), scale_back, config)

    return {
        'pre': tf.function(pre, input_signature=photos),
        'net': tf.function(network, input_signature=prepared),
        'total': tf.function(total, input_signature=photos),
    }


def _write_keras(model, folder, _):
    model.save(folder / 'model.keras')


def _write_savedmodel(model, folder, _):
    save_functions(folder / 'savedmodel', functions(model))


def _write_tflite(model, folder, photo):
    for part, saved in _saved(functions(model, photo, batch=1)):
        converter = tf.lite.TFLiteConverter.from_saved_model(
            saved, signature_keys=['serving_default']
        )
        (folder / f'{part}.tflite').write_bytes(converter.convert())


def _write_onnx(model, folder, _):
    import tf2onnx

    logging.getLogger('tf2onnx').setLevel(logging.ERROR)
    for part, function in functions(model).items():
        tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            output_path=str(folder / f'{part}.onnx'),
        )


def _write_openvino(model, folder, _):
    import openvino

    for part, saved in _saved(functions(model)):
        openvino.save_model(converted(saved), str(folder / f'{part}.xml'), compress_to_fp16=False)


def _saved(parts):
    for part, function in parts.items():
        with tempfile.TemporaryDirectory() as saved:
            save_functions(saved, {'serving_default': function})
            yield part, saved


WRITERS = {
    'keras': _write_keras,
    'savedmodel': _write_savedmodel,
    'tflite': _write_tflite,
    'onnx': _write_onnx,
    'openvino': _write_openvino,
}


def _row(engine, model, batch, photo, folder):
    """Measures in a new process and prints the figures."""
    size = model.detection_config.model.image_size
    numbers = [batch, *photo, *size, _REPEATS.value]
    done = subprocess.run(
        [sys.executable, str(TIMING), engine, str(folder), *map(str, numbers)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f'{engine}, batch {batch}: {done.stderr.strip()[-2000:]}')
    found = json.loads(done.stdout.splitlines()[-1])
    found['post'] = found['total'] - found['pre'] - found['net']
    print(
        f'{engine:<11}batch {batch}: '
        + '  '.join(f'{part} {found[part]:.1f}' for part in (*PARTS, 'total'))
        + f' ms (90 % of calls within {found["p90"]:.1f})  peak {found["peak MB"]:.0f} MB'
    )
    return {
        'commit': _commit(),
        'command': ' '.join(['python', 'tools/benchmark.py', *sys.argv[1:]]),
        'machine': f'{len(os.sched_getaffinity(0))} cores, TensorFlow {tf.__version__}',
        'model': model.name,
        'engine': engine,
        'batch': batch,
        'photo': 'x'.join(map(str, photo)),
        **{name: round(found[name], 1) for name in (*PARTS, 'total', 'p90', 'p99')},
        'peak MB': round(found['peak MB']),
    }


def _commit():
    done = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'],
        capture_output=True,
        text=True,
        check=False,
        cwd=TIMING.parent,
    )
    return done.stdout.strip() or 'unknown'


def _append(rows):
    """Writes rows at the end of the file; returns the newest of each engine and batch that were measured in the same way."""
    path = pathlib.Path(_OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, 'a', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        if new:
            writer.writeheader()
        writer.writerows(rows)
    with open(path, newline='') as file:
        alike = [
            row
            for row in csv.DictReader(file)
            if all(row[k] == rows[0][k] for k in ('machine', 'model', 'photo'))
        ]
    return list({(row['engine'], row['batch']): row for row in alike}.values())


def chart(rows):
    """Milliseconds a photo as stacked bars: a matplotlib Figure."""
    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.6), layout='constrained')
    axes = figure.add_subplot()
    left, names = [0.0] * len(rows), [f'{row["engine"]}, batch {row["batch"]}' for row in rows]
    for part, shade in zip(PARTS, COLORS, strict=True):
        widths = [max(0.0, float(row[part])) / int(row['batch']) for row in rows]
        axes.barh(names, widths, left=left, color=shade, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for name, end, row in zip(names, left, rows, strict=True):
        axes.text(end, name, f' {end:.1f} ms, {row["peak MB"]} MB', va='center', fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlabel='milliseconds a photo (median)',
        xlim=(0, max(left) * 1.2),
        title=f'{rows[0]["model"]}, photos {rows[0]["photo"]}, {rows[0]["machine"]}',
    )
    figure.legend(loc='outside lower center', ncols=len(PARTS))
    return figure


if __name__ == '__main__':
    run(main)
