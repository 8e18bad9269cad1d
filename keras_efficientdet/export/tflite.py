"""TFLite files with the four outputs, the metadata and the labels that readers on phones expect."""

import importlib
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.export.calibration import CalibrationSource, calibration_images
from keras_efficientdet.export.graph import frozen
from keras_efficientdet.export.labels import labels
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.export.tflite_metadata import with_metadata
from keras_efficientdet.files import new_file
from keras_efficientdet.network.detector import detections
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images
from keras_efficientdet.threads import one_at_a_time

OUTPUTS = ('boxes', 'classes', 'scores', 'count')  # the order of TFLite_Detection_PostProcess
MASK = 'mask'
OPERATOR = 'TFLite_Detection_PostProcess'
QUANTIZATIONS = (None, 'float16', 'dynamic', 'int8')


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    config: Config | None = None,
    *,
    quantization: str | None = None,
    calibration: CalibrationSource | None = None,
    nms: str = 'op',
) -> pathlib.Path:
    """Writes a .tflite file that takes one image of the network's own size.

    Its input is uint8 [1, height, width, 3] (`images.letterbox` makes it; normalisation is inside).
    Its outputs are float32, in this order: boxes [1, D, 4] ymin xmin ymax xmax in normalised
    coordinates of the input, classes [1, D] (0-based), scores [1, D], count [1]. TFLite metadata,
    labels.txt and labels.json are in the file. A head with masks has a fifth output, mask uint8
    [1, height, width] in pixels of the input.

    Args:
      model: the result of `efficientdet`. path: ends in .tflite. config: default: the model's own.
      quantization: None (float32), 'float16' (weights), 'dynamic' (int8 weights) or 'int8' (int8
        weights and activations).
      calibration: for int8: a folder of records or of images, or an iterable of images (paths or
        uint8 [H, W, 3]); 100 to 300 are enough.
      nms: 'op': TFLite_Detection_PostProcess, hard NMS with the configured `iou_thresh`, which is
        the fastest on phones and which MediaPipe reads; 'graph': the post-processing of Keras as
        built-in operators, with the same detections (not for int8).
    Returns:
      the path.
    Raises:
      ValueError: an invalid argument, or two that exclude each other.
      FileExistsError: the path exists.
    """
    config = config or model.detection_config
    _check(config, quantization, calibration, nms)
    finish = {'op': _detection_op, 'graph': _detect}[nms]
    with new_file(path, '.tflite') as (target, working):
        function = _fitted_in(frozen(model), config, finish)
        content = _convert(function, quantization, calibration, config)
        size = config.model.image_size
        working.write_bytes(with_metadata(content, outputs_of(config), labels(config), size))
    return target


def outputs_of(config: Config) -> tuple[str, ...]:
    """Names of the outputs of an exported file, in their order."""
    return OUTPUTS if head_of(config).mask is None else (*OUTPUTS, MASK)


def tflite_function(path: str | os.PathLike) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """An exported file as a function uint8 [1, height, width, 3] -> {name: array} of its outputs.

    It runs on `usable_threads` (TensorFlow's own default is one), by the package LiteRT where it is
    installed (extra `litert`), otherwise by TensorFlow. Threads may share it.
    """
    interpreter = _interpreter()(str(path), num_threads=usable_threads(path))
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    results = interpreter.get_output_details()
    names = (*OUTPUTS, MASK)[: len(results)]

    @one_at_a_time  # an interpreter has one memory for its input and output
    def run(image):
        interpreter.set_tensor(source['index'], image)
        interpreter.invoke()
        return {
            name: interpreter.get_tensor(result['index'])
            for name, result in zip(names, results, strict=True)
        }

    return run


def _interpreter():
    """The class Interpreter of LiteRT, or of TensorFlow, which is the same under its older name."""
    try:
        return importlib.import_module('ai_edge_litert.interpreter').Interpreter
    except ImportError:
        return _of_tensorflow


def _of_tensorflow(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # TensorFlow recommends LiteRT, which is an extra here
        return tf.lite.Interpreter(*args, **kwargs)


def usable_threads(path: str | os.PathLike) -> int:
    """The number of cores that this process may use, but 1 for a file with nms='op'.

    With some numbers of threads TFLite_Detection_PostProcess drops whole classes, for example one
    of 3 classes with 2 threads (tensorflow issue 56058).
    """
    if OPERATOR.encode() in pathlib.Path(path).read_bytes():
        return 1
    if hasattr(os, 'sched_getaffinity'):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tflite_detect(path: str | os.PathLike, config: Config) -> Callable:
    """An exported file as a function (prepared images, scale back) -> detections, for `evaluate`.

    It undoes the normalisation of the prepared images and rounds them to uint8, which changes them
    by at most half a grey level.
    """
    run = tflite_function(path)
    model = config.model
    size = np.tile(model.image_size, 2).astype(np.float32)

    def detect_all(prepared, scale_back):
        batch = images.denormalize(prepared, model.mean_rgb, model.stddev_rgb)
        rows = [run(image[None]) for image in batch]
        found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        # Normalised coordinates; the operator of nms='op' does not clip them.
        boxes = np.clip(found['boxes'], 0, 1)
        return {
            **{name: tf.constant(value) for name, value in found.items()},
            'boxes': tf.constant(boxes * size * scale_back.numpy()[:, None, None]),
            'classes': tf.constant(found['classes'].astype(np.int32)),
            'count': tf.constant(found['count'].astype(np.int32)),
        }

    return detect_all


def operator_settings(config: Config) -> Config:
    """The Config with which Keras finds what TFLite_Detection_PostProcess finds.

    That operator does hard NMS over all pairs of anchor and class.
    """
    _check_operator(config)
    anchors = head_of(config).anchors
    assert anchors  # `Head`: given together with `codes`, which was checked
    pairs = len(anchors(config)) * config.model.num_classes
    return load_config(config, {'detect': {'method': 'hard', 'max_nms_inputs': pairs}})


def _check_operator(config):
    if head_of(config).codes is None:
        raise ValueError(
            f"nms='op': {OPERATOR} decodes boxes relative to anchors, and the head "
            f"{config.model.head!r} has none; choose nms='graph'"
        )


def _check(config, quantization, calibration, nms):
    if quantization not in QUANTIZATIONS:
        raise ValueError(f'quantization {quantization!r}: expected one of {QUANTIZATIONS}')
    if nms not in ('op', 'graph'):
        raise ValueError(f"nms {nms!r}: expected 'op' or 'graph'")
    if nms == 'op':
        _check_operator(config)
    if (quantization == 'int8') != (calibration is not None):
        raise ValueError(
            'int8 needs `calibration`, a folder of records or some images; the other kinds of '
            'quantisation take none'
        )
    if quantization == 'int8' and nms == 'graph':
        raise ValueError(
            "int8 needs nms='op': the overlaps in the post-processing of nms='graph' are too "
            'inaccurate in 8 bits'
        )
    if quantization == 'int8' and '-lite' not in config.model.name:
        warnings.warn(
            f'int8 is meant for the lite models; {config.model.name} has swish and '
            'squeeze-and-excitation, which lose much accuracy in 8 bits. Compare AP before and '
            'after (`quantization_report`), or use efficientdet-lite0 to lite4'
        )


def _fitted_in(network, config, finish):
    """A tf.function: one uint8 image of the network's size -> `outputs_of` its configuration."""
    model, head = config.model, head_of(config)

    def run(images_):
        outputs = network(images.normalize(images_, model.mean_rgb, model.stddev_rgb))
        found = dict(zip(OUTPUTS, finish(outputs, config), strict=True))
        return found if head.mask is None else {**found, MASK: head.mask(outputs, config)}

    spec = tf.TensorSpec([1, *model.image_size, 3], tf.uint8, 'images')
    return tf.function(run, input_signature=[spec])


def _detect(outputs, config):
    found = detections(outputs, tf.ones([1]), config)
    found['boxes'] = found['boxes'] / tf.constant(np.tile(config.model.image_size, 2), tf.float32)
    return [tf.cast(found[name], tf.float32) for name in OUTPUTS]


def _detection_op(outputs, config):
    """A call of OPERATOR.

    The converter replaces a function whose `experimental_implements` names an operator by this
    operator; the body of the function only gives the shapes of the results.
    """
    count = config.detect.max_output_size

    @tf.function(experimental_implements=_operator_signature(config))
    def operator(codes, scores, anchors):
        return tf.zeros([1, count, 4]), tf.zeros([1, count]), tf.zeros([1, count]), tf.zeros([1])

    codes, scores = head_of(config).codes(outputs, config)
    return operator(codes, scores, tf.constant(_relative_anchors(config)))


def _operator_signature(config):
    """Name and attributes of OPERATOR, as text of a protocol buffer."""
    detect = config.detect
    attributes = {
        'max_detections': detect.max_output_size,
        'max_classes_per_detection': 1,
        'detections_per_class': detect.max_output_size,
        'use_regular_nms': detect.per_class,
        'nms_score_threshold': detect.score_thresh,
        'nms_iou_threshold': detect.iou_thresh,
        'num_classes': config.model.num_classes,
        # Our codes are not scaled, unlike those of TensorFlow's detection models.
        'y_scale': 1.0,
        'x_scale': 1.0,
        'h_scale': 1.0,
        'w_scale': 1.0,
    }
    kinds = {bool: 'b', int: 'i', float: 'f'}
    words = [f'name: "{OPERATOR}"']
    for key, value in attributes.items():
        kind, text = kinds[type(value)], str(value).lower()
        words.append(f'attr {{ key: "{key}" value {{ {kind}: {text} }} }}')
    return ' '.join(words)


def _relative_anchors(config):
    """float32 [A, 4] centre y, centre x, height, width in normalised coordinates."""
    boxes = head_of(config).anchors(config) / np.tile(config.model.image_size, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1).astype(np.float32)


def _convert(function, quantization, calibration, config):
    with tempfile.TemporaryDirectory() as folder:
        save_functions(folder, {'serving_default': function})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=['serving_default']
        )
        converter.allow_custom_ops = True  # OPERATOR is one
        if quantization:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == 'float16':
            converter.target_spec.supported_types = [tf.float16]
        if quantization == 'int8':
            found = calibration_images(calibration, config)
            converter.representative_dataset = lambda: ([image[None]] for image in found)
        return converter.convert()
