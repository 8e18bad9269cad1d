"""Times one engine in a process of its own, for `efficientdet benchmark`; prints json.

It runs as a script, and imports only the engine and numpy, so that the memory is the engine's own.
"""

import json
import os
import pathlib
import sys
import time

import numpy as np

THREADS = len(os.sched_getaffinity(0))


def keras_parts(folder):
    import keras
    import tensorflow as tf

    from keras_efficientdet.export.graph import prepare
    from keras_efficientdet.network.detector import detector

    model = keras.models.load_model(folder / 'model.keras', compile=False)
    whole, config = detector(model), model.detection_config
    images = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    prepared = [tf.TensorSpec([None, *model.input_shape[1:]])]
    graphs = {
        'total': tf.function(lambda x: whole(x, training=False), input_signature=images),
        'net': tf.function(lambda x: model(x, training=False), input_signature=prepared),
        'pre': tf.function(lambda x: prepare(x, config), input_signature=images),
    }

    def load(part):
        graph = graphs[part]
        return lambda array: tf.nest.map_structure(np.asarray, graph(tf.constant(array)))

    return load


def savedmodel_parts(folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / 'savedmodel'))

    def load(part):
        signature = loaded.signatures[part]
        return lambda array: {
            name: value.numpy() for name, value in signature(images=tf.constant(array)).items()
        }

    return load


def tflite_parts(folder):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter

    def load(part):
        interpreter = Interpreter(str(folder / f'{part}.tflite'), num_threads=THREADS)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]
        results = interpreter.get_output_details()

        def one(image):
            interpreter.set_tensor(source['index'], image[None])
            interpreter.invoke()
            return [interpreter.get_tensor(row['index']) for row in results]

        return lambda array: [one(image) for image in array]

    return load


def onnx_parts(folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS

    def load(part):
        session = onnxruntime.InferenceSession(
            str(folder / f'{part}.onnx'), options, providers=['CPUExecutionProvider']
        )
        name = session.get_inputs()[0].name
        return lambda array: session.run(None, {name: array})

    return load


def openvino_parts(folder):
    import openvino

    core = openvino.Core()
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': THREADS}

    def load(part):
        compiled = core.compile_model(str(folder / f'{part}.xml'), 'CPU', settings)
        return lambda array: list(compiled(array).values())

    return load


PARTS = {
    'keras': keras_parts,
    'savedmodel': savedmodel_parts,
    'tflite': tflite_parts,
    'onnx': onnx_parts,
    'openvino': openvino_parts,
}


def milliseconds(run, array, repeats):
    """Milliseconds of each of `repeats` calls, after some to warm up."""
    for _ in range(max(2, repeats // 5)):
        run(array)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(array)
        times.append(1000 * (time.perf_counter() - start))
    return times


def peak():
    """The most memory that this process had, in megabytes.

    Not by getrusage: its maximum outlives exec, so it would be that of the calling benchmark.
    """
    status = pathlib.Path('/proc/self/status').read_text(encoding='utf-8')
    (line,) = [row for row in status.splitlines() if row.startswith('VmHWM')]
    return int(line.split()[1]) / 1024


def main(engine, folder, *numbers):
    batch, *image, height, width, repeats = map(int, numbers)
    draw = np.random.default_rng(0)
    load = PARTS[engine](pathlib.Path(folder))
    images = draw.integers(0, 256, (batch, *image, 3), np.uint8)
    prepared = draw.normal(size=(batch, height, width, 3)).astype(np.float32)
    total = milliseconds(load('total'), images, repeats)
    found = {
        'total': np.median(total),
        'p90': np.percentile(total, 90),
        'p99': np.percentile(total, 99),
        'peak MB': peak(),  # before the parts are loaded beside it
    }
    found['pre'] = np.median(milliseconds(load('pre'), images, repeats))
    found['net'] = np.median(milliseconds(load('net'), prepared, repeats))
    print(json.dumps(found))


if __name__ == '__main__':
    # The folder of this script: its modules must not hide those that an engine imports.
    del sys.path[0]
    main(*sys.argv[1:])
