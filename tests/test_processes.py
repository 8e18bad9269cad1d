"""One `Detector` in several threads, and in processes that are forked and spawned."""

import collections
import importlib.util
import multiprocessing
import os
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import official
import pytest

from keras_efficientdet import (
    Detector,
    efficientdet,
    export_onnx,
    export_openvino,
    export_savedmodel,
    export_tflite,
    load_config,
)

ENGINES = ('keras', 'savedmodel', 'tflite-op', 'tflite-graph', 'onnx', 'openvino')
PACKAGES = {'onnx': ('tf2onnx', 'onnxruntime'), 'openvino': ('openvino',)}
TENSORFLOW = ('keras', 'savedmodel')
THREADS = 8
SECONDS = 120  # for a process to answer


@pytest.fixture(scope='module')
def model():
    keras.utils.set_random_seed(0)
    small = {'image_size': 64, 'num_classes': 2, 'label_map': {1: 'nut', 2: 'bolt'}}
    few = {'fpn_num_filters': 16, 'fpn_cell_repeats': 1, 'box_class_repeats': 1}
    return efficientdet(load_config('efficientdet-lite0', {**small, **few}))


@pytest.fixture(scope='module', params=ENGINES)
def stored(request, model, tmp_path_factory):
    """(engine, path of the model)"""
    engine, folder = request.param, tmp_path_factory.mktemp('stored')
    for package in PACKAGES.get(engine, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed; `make test-engines` installs it')
    if engine == 'keras':
        model.save(folder / 'model.keras')
        return engine, folder / 'model.keras'
    if engine == 'savedmodel':
        return engine, export_savedmodel(model, folder / 'saved')
    if engine == 'onnx':
        return engine, export_onnx(model, folder / 'model.onnx')
    if engine == 'openvino':
        return engine, export_openvino(model, folder / 'model.xml')
    nms = engine.partition('-')[2]
    return engine, export_tflite(model, folder / 'model.tflite', nms=nms)


@pytest.fixture(scope='module')
def detector(stored):
    return Detector(stored[1])


def images():
    """Eight images whose detections differ; large enough that engines divide their work."""
    draw = np.random.default_rng(0)
    return [
        draw.integers(0, 256, (6, 9, 3), np.uint8).repeat(10 + i, 0).repeat(12, 1) for i in range(8)
    ]


def arrays(found):
    return found.boxes, found.scores, found.classes


def is_like(found, expected):
    return len(found[1]) == len(expected[1]) and all(
        np.allclose(a, b, atol=1e-3) for a, b in zip(found, expected, strict=True)
    )


def right_calls(detector, calls):
    """{'right' or what was wrong: number of calls} of THREADS threads."""
    given = images()
    expected = [arrays(detector(image)[0]) for image in given]
    assert len(expected[0][1]) > 10
    assert not any(is_like(expected[0], other) for other in expected[1:])

    def call(k):
        try:
            found = arrays(detector(given[k % 8])[0])
        except Exception as error:
            return f'{type(error).__name__}: {error}'
        return 'right' if is_like(found, expected[k % 8]) else 'detections of another image'

    with ThreadPoolExecutor(THREADS) as pool:
        return collections.Counter(pool.map(call, range(calls)))


def test_threads_share_a_detector(detector):
    official.bug_input('detector_from_threads')
    assert right_calls(detector, 160) == {'right': 160}


@pytest.mark.slow
def test_many_calls_of_threads(detector):
    assert right_calls(detector, 2000) == {'right': 2000}


def answer_of(start, *given):
    """What `_answer` puts into its queue in a process of this start method."""
    context = multiprocessing.get_context(start)
    answers = context.Queue()
    process = context.Process(target=_answer, args=(*given, answers))
    process.start()
    try:
        return answers.get(timeout=SECONDS)
    except queue.Empty:
        return 'no answer'
    finally:
        process.kill()
        process.join()


def _answer(model, image, answers):
    """The detections of a Detector, or of one that is made here from a path."""
    try:
        detector = model if isinstance(model, Detector) else Detector(model)
        answers.put(arrays(detector(image)[0]))
    except (RuntimeError, ValueError) as error:
        answers.put(str(error))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='nothing is forked here')
@pytest.mark.parametrize('own', [False, True], ids=['of the parent', 'of its own'])
def test_a_forked_process_answers_or_says_why_not(stored, detector, own):
    """TensorFlow has run in this process; after a fork it would wait for threads that are gone."""
    engine, path = stored
    image = images()[3]
    expected = arrays(detector(image)[0])
    found = answer_of('fork', path if own else detector, image)
    if engine in TENSORFLOW:
        assert f'TensorFlow had run in process {os.getpid()} before' in found
        assert "get_context('spawn')" in found
    else:
        assert is_like(found, expected), found


def test_a_detector_is_given_to_a_spawned_process(detector):
    image = images()[3]
    assert is_like(answer_of('spawn', detector, image), arrays(detector(image)[0]))


def test_a_model_in_memory_is_given_to_a_spawned_process(model):
    image, detector = images()[3], Detector(model, batch_size=3)
    assert is_like(answer_of('spawn', detector, image), arrays(detector(image)[0]))


FORKED_BEFORE = """
import os, sys
import numpy as np
from keras_efficientdet import Detector

if os.fork() == 0:
    found = Detector(sys.argv[1])(np.load(sys.argv[2]))[0]
    np.savez(sys.argv[3], boxes=found.boxes, scores=found.scores, classes=found.classes)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='nothing is forked here')
def test_a_process_that_was_forked_before_tensorflow_ran(stored, detector, tmp_path):
    image = images()[3]
    np.save(tmp_path / 'image.npy', image)
    places = stored[1], tmp_path / 'image.npy', tmp_path / 'found.npz'
    subprocess.run([sys.executable, '-c', FORKED_BEFORE, *places], check=True, timeout=SECONDS)
    with np.load(tmp_path / 'found.npz') as found:
        assert is_like([found[name] for name in found], arrays(detector(image)[0]))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='nothing is forked here')
def test_files_that_were_replaced_are_not_loaded_in_a_forked_process(model, tmp_path):
    path = export_tflite(model, tmp_path / 'model.tflite')
    detector = Detector(path)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[::-1])
    found = answer_of('fork', detector, images()[0])
    assert 'model.tflite changed after the model was loaded' in found
