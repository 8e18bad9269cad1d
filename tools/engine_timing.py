"""One engine in a process of its own, for benchmark.py: prints latencies and the peak of memory as json.

It imports the engine and numpy alone, so that the memory is the engine's own.
"""

import json
import os
import pathlib
import sys
import time

import numpy as np

THREADS = len(os.sched_getaffinity(0))


def keras_parts(folder):
    import command  # noqa: F401
    import keras
    import tensorflow as tf

    from keras_efficientdet.export.graph import prepare
    from keras_efficientdet.network.detector import detector

    model = keras.models.load_model(folder / 'model.keras', compile=False)
    whole, config = detector(model), model.detection_config
    photos, prepared = (
        [tf.TensorSpec([None, None, None, 3], tf.uint8)],
        [tf.TensorSpec([None, *model.input_shape[1:]])],
    )
    graphs = {
        'total': tf.function(lambda x: whole(x, training=False), input_signature=photos),
        'net': tf.function(lambda x: model(x, training=False), input_signature=prepared),
        'pre': tf.function(lambda x: prepare(x, config), input_signature=photos),
    }
    return lambda part: (
        lambda array: tf.nest.map_structure(np.asarray, graphs[part](tf.constant(array)))
    )


def savedmodel_parts(folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / 'savedmodel'))
    return lambda part: (
        lambda array: {
            k: v.numpy() for k, v in loaded.signatures[part](images=tf.constant(array)).items()
        }
    )


def tflite_parts(folder):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter

    def load(part):
        interpreter = Interpreter(str(folder / f'{part}.tflite'), num_threads=THREADS)
        interpreter.allocate_tensors()
        source, results = interpreter.get_input_details()[0], interpreter.get_output_details()

        def one(picture):
            interpreter.set_tensor(source['index'], picture[None])
            interpreter.invoke()
            return [interpreter.get_tensor(row['index']) for row in results]

        return lambda array: [one(picture) for picture in array]

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

    core, settings = (
        openvino.Core(),
        {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': THREADS},
    )

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
    for _ in range(max(2, repeats // 5)):
        run(array)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(array)
        times.append(1000 * (time.perf_counter() - start))
    return times


def peak():
    """Megabytes. Not getrusage: its maximum goes through exec, so it would be that of benchmark.py."""
    (line,) = [
        row
        for row in pathlib.Path('/proc/self/status').read_text().splitlines()
        if row.startswith('VmHWM')
    ]
    return int(line.split()[1]) / 1024


def main(engine, folder, *numbers):
    batch, *photo, height, width, repeats = map(int, numbers)
    draw, load = np.random.default_rng(0), PARTS[engine](pathlib.Path(folder))
    photos = draw.integers(0, 256, (batch, *photo, 3), np.uint8)
    prepared = draw.normal(size=(batch, height, width, 3)).astype(np.float32)
    total = milliseconds(load('total'), photos, repeats)
    found = {
        'total': np.median(total),
        'p90': np.percentile(total, 90),
        'p99': np.percentile(total, 99),
        'peak MB': peak(),
    }  # before the parts are loaded beside it
    found |= {
        part: np.median(milliseconds(load(part), array, repeats))
        for part, array in (('pre', photos), ('net', prepared))
    }
    print(json.dumps(found))


if __name__ == '__main__':
    main(*sys.argv[1:])
