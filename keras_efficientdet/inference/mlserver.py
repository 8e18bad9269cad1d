"""The runtime that `mlserver` runs (extra `serve`): an exported SavedModel over the KServe V2 protocol, REST and gRPC."""

import asyncio
import base64
import binascii
import io
import math

import numpy as np
import tensorflow as tf
from mlserver import MLModel, ModelSettings
from mlserver.batching import AdaptiveBatcher
from mlserver.errors import InferenceError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
)
from PIL import Image

from keras_efficientdet.export.labels import LABELS
from keras_efficientdet.export.upright import decode_upright

KINDS = ('JPEG', 'PNG', 'GIF', 'BMP')
OUTPUTS = {
    'boxes': ('FP32', [-1, -1, 4]),
    'scores': ('FP32', [-1, -1]),
    'classes': ('INT32', [-1, -1]),
    'count': ('INT32', [-1]),
}
INPUTS = {'image_bytes': ('BYTES', [-1]), 'images': ('UINT8', [-1, -1, -1, 3])}
_BLANK = tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8)).numpy()


class DetectorRuntime(MLModel):
    """One exported SavedModel. A request holds one of the two inputs, as in docs/SERVING.md; its outputs are those of the export.

    Settings: `parameters.uri`, the folder of a version; `parameters.extra`: `max_pixels` of one request, and `max_batch_size` and
    `max_batch_time` of the batches that requests of `image_bytes` are put into. They do not stand where mlserver looks for them,
    because it would batch before we have looked at a request, and then one bad request fails those of others.
    """

    async def load(self):
        parameters = self.settings.parameters
        self._loaded = tf.saved_model.load(parameters.uri)
        self._labels = tf.io.gfile.GFile(f'{parameters.uri}/{LABELS}').read()
        self._max_pixels = parameters.extra['max_pixels']
        batches = {k: parameters.extra[k] for k in ('max_batch_size', 'max_batch_time')}
        settings = ModelSettings(name=self.name, implementation=_Encoded, **batches)
        encoded = _Encoded(settings, self._loaded.signatures['serving_bytes'])
        self._encoded = AdaptiveBatcher(encoded) if batches['max_batch_size'] > 1 else encoded
        self.inputs, self.outputs = (
            [
                MetadataTensor(name=name, datatype=kind, shape=shape)
                for name, (kind, shape) in table.items()
            ]
            for table in (INPUTS, OUTPUTS)
        )
        return True

    async def metadata(self):
        """What KServe asks for, and `parameters.labels`: class names and ids as json."""
        return (await super().metadata()).model_copy(
            update={'parameters': Parameters(labels=self._labels)}
        )

    async def predict(self, payload):
        """Detections of one request. Raises InferenceError (400, in gRPC INVALID_ARGUMENT) that says what is wrong with it."""
        given = _only_input(payload)
        if given.name == 'images':
            pictures = _pictures(given, self._max_pixels)
            found = await asyncio.to_thread(
                _run, self._loaded.signatures['serving_default'], images=pictures
            )
            outputs = [_tensor(name, found[name]) for name in OUTPUTS]
        else:
            encoded = _encoded(given, self._max_pixels)
            one = RequestInput(
                name=given.name, datatype='BYTES', shape=[len(encoded)], data=encoded
            )
            # Shielded: a client that hangs up would leave the other requests of its batch without an answer.
            answer = await asyncio.shield(self._encoded.predict(InferenceRequest(inputs=[one])))
            *outputs, faults = answer.outputs
            for i, fault in enumerate(faults.data):
                if fault:
                    raise InferenceError(f'picture {i} of image_bytes cannot be read: {fault}')
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


class _Encoded(MLModel):
    """The signature `serving_bytes` as mlserver's batcher wants it; an output `faults` says which pictures are broken."""

    def __init__(self, settings, signature):
        super().__init__(settings)
        self._signature = signature

    async def predict(self, payload):
        encoded, size = payload.inputs[0].data.root, max(1, self.settings.max_batch_size)
        parts = [
            await asyncio.to_thread(self._part, encoded[i : i + size])
            for i in range(0, len(encoded), size)
        ]
        outputs = [
            _tensor(name, np.concatenate([found[name] for found, _ in parts])) for name in OUTPUTS
        ]
        faults = [fault for _, part in parts for fault in part]
        outputs.append(
            ResponseOutput(name='faults', datatype='BYTES', shape=[len(faults)], data=faults)
        )
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def _part(self, encoded):
        try:
            return _run(self._signature, image_bytes=encoded), [''] * len(encoded)
        except tf.errors.InvalidArgumentError:
            faults = [_fault(one) for one in encoded]
            readable = [
                _BLANK if fault else one for one, fault in zip(encoded, faults, strict=True)
            ]
            return _run(self._signature, image_bytes=readable), faults


def _run(signature, **inputs):
    found = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


def _tensor(name, array):
    return ResponseOutput(
        name=name, datatype=OUTPUTS[name][0], shape=list(array.shape), data=array.ravel().tolist()
    )


def _fault(encoded):
    try:
        decode_upright(tf.constant(encoded))
    except tf.errors.InvalidArgumentError as error:
        return error.message.splitlines()[0]
    return ''


def _only_input(payload):
    names = [given.name for given in payload.inputs]
    if len(names) != 1 or names[0] not in INPUTS:
        raise InferenceError(f'expected one input, image_bytes or images; found {names}')
    given = payload.inputs[0]
    kind, found = INPUTS[given.name][0], getattr(given.datatype, 'value', given.datatype)
    if found != kind:
        raise InferenceError(f'{given.name}: expected datatype {kind}, found {found}')
    if not given.shape or min(given.shape) < 1:
        raise InferenceError(f'{given.name}: shape {given.shape} holds no picture')
    return given


def _encoded(given, max_pixels):
    """The encoded pictures of a request as a list of bytes; their headers are read, so that a bomb is never decoded."""
    data, total = given.data.root, 0
    if not isinstance(data, list) or not data or math.prod(given.shape) != len(data):
        raise InferenceError(f'image_bytes: shape {given.shape} does not fit the data')
    pictures = [_binary(one, i) for i, one in enumerate(data)]
    for i, picture in enumerate(pictures):
        total += _pixels(picture, i)
        _check_pixels(total, max_pixels)
    return pictures


def _binary(one, i):
    """Bytes as they are (gRPC), text as base64 (JSON)."""
    if isinstance(one, bytes):
        return one
    try:
        return base64.b64decode(one, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InferenceError(
            f'picture {i} of image_bytes: expected base64 text, found {type(one).__name__} ({error})'
        ) from error


def _pixels(encoded, i):
    try:
        with Image.open(io.BytesIO(encoded), formats=KINDS) as opened:
            return math.prod(opened.size) * (
                opened.n_frames if opened.format == 'GIF' else 1
            )  # TensorFlow decodes all frames
    except Exception as error:  # Pillow has many kinds for a damaged header
        raise InferenceError(
            f'picture {i} of image_bytes: not a readable {", ".join(KINDS)} ({len(encoded)} bytes)'
        ) from error


def _pictures(given, max_pixels):
    """uint8 [B, H, W, 3] of a request."""
    if len(given.shape) != 4 or given.shape[3] != 3:
        raise InferenceError(
            f'images: expected shape [batch, height, width, 3], found {given.shape}'
        )
    _check_pixels(math.prod(given.shape[:3]), max_pixels)
    try:
        array = np.asarray(given.data.root).reshape(given.shape)
    except ValueError as error:
        raise InferenceError(f'images: shape {given.shape} does not fit the data') from error
    if array.dtype.kind not in 'iu' or array.min() < 0 or array.max() > 255:
        raise InferenceError('images: expected whole numbers from 0 to 255')
    return array.astype(np.uint8)


def _check_pixels(count, most):
    if count > most:
        raise InferenceError(
            f'the request has {count} pixels or more, this server takes {most} at once (--max_pixels)'
        )
