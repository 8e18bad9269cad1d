"""TFLite files with the four outputs, the metadata and the labels that readers on phones expect."""

import os
import pathlib
import tempfile
import warnings

import numpy as np
import tensorflow as tf

from keras_efficientdet.config import load_config
from keras_efficientdet.export.calibration import calibration_pictures
from keras_efficientdet.export.graph import frozen
from keras_efficientdet.export.labels import labels
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.export.tflite_metadata import with_metadata
from keras_efficientdet.files import new_file
from keras_efficientdet.network.detector import detections
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images

OUTPUTS = ('boxes', 'classes', 'scores', 'count')  # the order of TFLite_Detection_PostProcess
OPERATOR = 'TFLite_Detection_PostProcess'
QUANTIZATIONS = (None, 'float16', 'dynamic', 'int8')


def export_tflite(model, path, config=None, *, quantization=None, calibration=None, nms='op'):
    """Writes a .tflite file that takes one picture of the network's own size.

    Its input is uint8 [1, height, width, 3] (`images.letterbox` makes it; normalisation is inside). Its outputs are float32, in
    this order: boxes [1, D, 4] ymin xmin ymax xmax as fractions of the input, classes [1, D] (0-based), scores [1, D],
    count [1]. TFLite metadata, labels.txt and labels.json are in the file.

    Args:
      model: the result of `efficientdet`. path: ends in .tflite. config: default: the one that the model carries.
      quantization: None (float32), 'float16' (weights), 'dynamic' (int8 weights) or 'int8' (int8 weights and activations).
      calibration: for int8: a folder of records or of pictures, or an iterable of pictures (paths or uint8 [H, W, 3]); 100 to 300
        are enough.
      nms: 'op': TFLite_Detection_PostProcess, hard NMS of the configuration's `iou_thresh`, which phones run fastest
        and MediaPipe reads; 'graph': our post-processing as built-in operators, the same detections as in Keras (not with int8).
    Returns:
      the path.
    Raises:
      ValueError: an argument that does not exist, or that does not go with another. FileExistsError: the path exists.
    """
    config = config or model.detection_config
    _check(config, quantization, calibration, nms)
    with new_file(path, '.tflite') as (target, working):
        function = _photo_in(frozen(model), config, {'op': _detection_op, 'graph': _detect}[nms])
        content = _convert(function, quantization, calibration, config)
        working.write_bytes(
            with_metadata(content, OUTPUTS, labels(config), config.model.image_size)
        )
    return target


def tflite_function(path):
    """The function uint8 [1, height, width, 3] -> {'boxes', 'classes', 'scores', 'count'} of an exported file.

    It runs on each core that this process may use (TensorFlow's own default is one), but on one for nms='op'.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            'ignore'
        )  # TensorFlow recommends LiteRT for running, which is an extra here
        interpreter = tf.lite.Interpreter(str(path), num_threads=usable_threads(path))
    interpreter.allocate_tensors()
    (source,), results = interpreter.get_input_details(), interpreter.get_output_details()

    def run(picture):
        interpreter.set_tensor(source['index'], picture)
        interpreter.invoke()
        return {
            name: interpreter.get_tensor(row['index'])
            for name, row in zip(OUTPUTS, results, strict=True)
        }

    return run


def usable_threads(path):
    """Cores that this process may use, but 1 for a file with TFLite_Detection_PostProcess: at some numbers of threads that drops
    whole classes, as of 3 at 2 (tensorflow issue 56058)."""
    if OPERATOR.encode() in pathlib.Path(path).read_bytes():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def tflite_detect(path, config):
    """An exported file as a function like `models.detect_batch`, for `evaluate`: (prepared images, scale back) -> detections.

    Undoes the normalisation of the prepared images; they were uint8 before resizing, so at most half a grey level is lost.
    """
    run, size, model = (
        tflite_function(path),
        np.tile(config.model.image_size, 2).astype(np.float32),
        config.model,
    )

    def detect_all(prepared, scale_back):
        pictures = images.denormalize(prepared, model.mean_rgb, model.stddev_rgb)
        rows = [run(picture[None]) for picture in pictures]
        found = {name: np.concatenate([row[name] for row in rows]) for name in OUTPUTS}
        inside = np.clip(
            found['boxes'], 0, 1
        )  # the operator of nms='op' leaves boxes over the edge
        return {
            'boxes': tf.constant(inside * size * scale_back.numpy()[:, None, None]),
            'scores': tf.constant(found['scores']),
            'classes': tf.constant(found['classes'].astype(np.int32)),
            'count': tf.constant(found['count'].astype(np.int32)),
        }

    return detect_all


def operator_settings(config):
    """The Config with which Keras does what TFLite_Detection_PostProcess does: hard NMS over all pairs of anchor and class."""
    _check_operator(config)
    pairs = len(head_of(config).anchors(config)) * config.model.num_classes
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
            'int8 needs `calibration`, a folder of records or some pictures; the other kinds take none'
        )
    if quantization == 'int8' and nms == 'graph':
        raise ValueError(
            "int8 goes with nms='op': the overlaps of our own post-processing do not bear 8 bits"
        )
    if quantization == 'int8' and '-lite' not in config.model.name:
        warnings.warn(
            f'int8 is meant for the lite models; {config.model.name} has swish and squeeze-and-excitation, which lose '
            'much in 8 bits. Look at the report, or take efficientdet-lite0 to lite4'
        )


def _photo_in(network, config, finish):
    size, model = config.model.image_size, config.model

    def run(images_):
        outputs = network(images.normalize(images_, model.mean_rgb, model.stddev_rgb))
        return dict(zip(OUTPUTS, finish(outputs, config), strict=True))

    return tf.function(run, input_signature=[tf.TensorSpec([1, *size, 3], tf.uint8, 'images')])


def _detect(outputs, config):
    found = detections(outputs, tf.ones([1]), config)
    found['boxes'] = found['boxes'] / tf.constant(np.tile(config.model.image_size, 2), tf.float32)
    return [tf.cast(found[name], tf.float32) for name in OUTPUTS]


def _detection_op(outputs, config):
    """The converter puts the operator of this name where it finds the function; its body only gives the shapes."""
    settings, count = config.detect, config.detect.max_output_size
    attributes = {
        'max_detections': count,
        'max_classes_per_detection': 1,
        'detections_per_class': count,
        'use_regular_nms': settings.per_class,
        'nms_score_threshold': settings.score_thresh,
        'nms_iou_threshold': settings.iou_thresh,
        'num_classes': config.model.num_classes,
        'y_scale': 1.0,
        'x_scale': 1.0,
        'h_scale': 1.0,
        'w_scale': 1.0,
    }
    kinds = {bool: 'b', int: 'i', float: 'f'}
    signature = ' '.join(
        [f'name: "{OPERATOR}"']
        + [
            f'attr {{ key: "{k}" value {{ {kinds[type(v)]}: {str(v).lower()} }} }}'
            for k, v in attributes.items()
        ]
    )

    @tf.function(experimental_implements=signature)
    def operator(codes, scores, anchors):
        return tf.zeros([1, count, 4]), tf.zeros([1, count]), tf.zeros([1, count]), tf.zeros([1])

    codes, scores = head_of(config).codes(outputs, config)
    return operator(codes, scores, tf.constant(_relative_anchors(config)))


def _relative_anchors(config):
    """float32 [A, 4] centre y, centre x, height, width as fractions of the network's input."""
    boxes = head_of(config).anchors(config) / np.tile(config.model.image_size, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1).astype(np.float32)


def _convert(function, quantization, calibration, config):
    with tempfile.TemporaryDirectory() as folder:
        save_functions(folder, {'serving_default': function})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=['serving_default']
        )
        converter.allow_custom_ops = True
        if quantization:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == 'float16':
            converter.target_spec.supported_types = [tf.float16]
        if quantization == 'int8':
            pictures = calibration_pictures(calibration, config)
            converter.representative_dataset = lambda: ([picture[None]] for picture in pictures)
        return converter.convert()
