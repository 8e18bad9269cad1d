"""Latency of a detector in every installed engine, as a table and a chart.

Example:
  efficientdet benchmark --model=efficientdet-lite0 --output=results/benchmark.csv

Preparing the image (pre), the network (net) and the whole (total) are measured as models of their
own in each engine, made of the functions that the exports are made of. What the whole takes beyond
pre and net is post. Each engine runs in a process of its own.
"""

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
from matplotlib.figure import Figure

from keras_efficientdet.commands import command
from keras_efficientdet.config import load_config
from keras_efficientdet.export.graph import frozen, prepare
from keras_efficientdet.export.onnx import OPSET
from keras_efficientdet.export.openvino import converted
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.network.detector import detections
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.ops.images import sizes

_log = logging.getLogger(__name__)

ENGINES = {  # and the packages that each needs
    'keras': (),
    'savedmodel': (),
    'tflite': (),
    'onnx': ('tf2onnx', 'onnxruntime'),
    'openvino': ('openvino',),
}
PARTS = ('pre', 'net', 'post')
COLORS = ('#8fb8de', '#1f4e79', '#e08e45')
TIMING = pathlib.Path(__file__).with_name('engine_timing.py')


def define(flags):
    flags.DEFINE_string(
        'model',
        None,
        'Folder that `efficientdet train` wrote, .keras file, or a name (with random weights).',
        required=True,
    )
    flags.DEFINE_string(
        'output',
        None,
        'csv file to which rows are added; a chart is drawn beside it.',
        required=True,
    )
    flags.DEFINE_list('engines', list(ENGINES), 'Those of them that are installed are measured.')
    flags.DEFINE_list('batches', ['1', '8'], 'Batch sizes. TFLite takes images one by one.')
    flags.DEFINE_list('photo', ['480', '640'], 'Height and width of the images.')
    flags.DEFINE_integer(
        'repeats', 30, 'Measured calls, after a fifth as many to warm up.', lower_bound=5
    )
    command.define_set(flags, 'key=value of the configuration of a model by name.')
    command.define_json(flags)


def main(given):
    unknown = sorted(set(given.engines) - set(ENGINES))
    if unknown:
        raise ValueError(f'--engines: {unknown} not among {list(ENGINES)}')
    model = _model(given)
    photo = [int(n) for n in given.photo]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for engine in filter(_is_installed, given.engines):
            WRITERS[engine](model, pathlib.Path(folder), photo)
            rows += [_row(engine, model, batch, photo, folder, given) for batch in given.batches]
    if not rows:
        raise ValueError(f'--engines: none of {given.engines} is installed')
    output = pathlib.Path(given.output)
    chart(_append(rows, output)).savefig(output.with_suffix('.png'), dpi=110)
    return command.Outcome(rows)


def _is_installed(engine):
    missing = [name for name in ENGINES[engine] if importlib.util.find_spec(name) is None]
    if missing:
        _log.info('%-11sleft out: %s not installed', engine, ' and '.join(missing))
    return not missing


def _model(given):
    path = pathlib.Path(given.model)
    if path.suffix == '.keras':
        return keras.models.load_model(path, compile=False)
    if path.is_dir():
        return load_trained(path)
    return efficientdet(load_config(given.model, given.set))


def functions(model, photo=(None, None), batch=None, resizes_uint8=True):
    """{'pre', 'net', 'total'}: tf.functions of images uint8 [batch, *photo, 3]."""
    config = model.detection_config
    network = frozen(model)
    photos = [tf.TensorSpec([batch, *photo, 3], tf.uint8, 'images')]
    prepared = [tf.TensorSpec([batch, *config.model.image_size, 3], tf.float32, 'images')]

    def pre(images):
        ready, scale_back = prepare(images, config, resizes_uint8)
        return {'prepared': ready, 'scale_back': scale_back}

    def total(images):
        ready, scale_back = prepare(images, config, resizes_uint8)
        return detections(network(ready), scale_back, config, sizes(images))

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
    for part, function in functions(model, resizes_uint8=False).items():
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
    """(name, path of a SavedModel that exists until the next one) of each function."""
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


def _row(engine, model, batch, photo, folder, given):
    """Measures in a new process, logs the latencies, and returns them as a row of the table."""
    size = model.detection_config.model.image_size
    found = _measured(engine, folder, [batch, *photo, *size, given.repeats])
    found['post'] = found['total'] - found['pre'] - found['net']
    _log.info(
        '%-11sbatch %s: %s ms (90 %% of calls within %.1f)  peak %.0f MB',
        engine,
        batch,
        '  '.join(f'{part} {found[part]:.1f}' for part in (*PARTS, 'total')),
        found['p90'],
        found['peak MB'],
    )
    return {
        'commit': _commit(),
        'command': ' '.join(['efficientdet', *sys.argv[1:]]),
        'machine': f'{len(os.sched_getaffinity(0))} cores, TensorFlow {tf.__version__}',
        'model': model.name,
        'engine': engine,
        'batch': batch,
        'photo': 'x'.join(map(str, photo)),
        **{name: round(found[name], 1) for name in (*PARTS, 'total', 'p90', 'p99')},
        'peak MB': round(found['peak MB']),
    }


def _measured(engine, folder, numbers):
    done = subprocess.run(
        [sys.executable, str(TIMING), engine, str(folder), *map(str, numbers)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f'{engine}, batch {numbers[0]}: {done.stderr.strip()[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def _commit():
    """The checkout's commit; 'unknown' for an installed package."""
    done = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'],
        capture_output=True,
        text=True,
        check=False,
        cwd=TIMING.parent,
    )
    return done.stdout.strip() or 'unknown'


def _append(rows, path):
    """Adds rows to the file; returns the newest of each engine and batch of the same setting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with open(path, 'a', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
    newest = {}
    with open(path, encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            if all(row[key] == rows[0][key] for key in ('machine', 'model', 'photo')):
                newest[row['engine'], row['batch']] = row
    return list(newest.values())


def chart(rows):
    """Milliseconds per image as stacked bars: a matplotlib Figure."""
    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.6), layout='constrained')
    axes = figure.add_subplot()
    names = [f'{row["engine"]}, batch {row["batch"]}' for row in rows]
    left = [0.0] * len(rows)
    for part, color in zip(PARTS, COLORS, strict=True):
        widths = [max(0.0, float(row[part])) / int(row['batch']) for row in rows]
        axes.barh(names, widths, left=left, color=color, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for name, end, row in zip(names, left, rows, strict=True):
        axes.text(end, name, f' {end:.1f} ms, {row["peak MB"]} MB', va='center', fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlabel='milliseconds per image (median)',
        xlim=(0, max(left) * 1.2),
        title=f'{rows[0]["model"]}, images {rows[0]["photo"]}, {rows[0]["machine"]}',
    )
    figure.legend(loc='outside lower center', ncols=len(PARTS))
    return figure
