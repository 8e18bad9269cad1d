"""The model runtime that mlserver loads (extra `serve`): a SavedModel over KServe V2."""

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
from keras_efficientdet.ops.class_masks import IGNORED

FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP')  # what TensorFlow decodes
INPUTS = {'image_bytes': ('BYTES', [-1]), 'images': ('UINT8', [-1, -1, -1, 3])}
OUTPUTS = {
    'boxes': ('FP32', [-1, -1, 4]),
    'scores': ('FP32', [-1, -1]),
    'classes': ('INT32', [-1, -1]),
    'count': ('INT32', [-1]),
    'mask': ('UINT8', [-1, -1, -1]),  # only of some heads
}
_BLANK = tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8)).numpy()


class DetectorRuntime(MLModel):
    """Serves one exported SavedModel.

    A request holds one of the two INPUTS (docs/SERVING.md); its outputs are those of the export.

    Settings: `parameters.uri` is the folder of a version. `parameters.extra` holds `max_pixels` of
    one request, and `max_batch_size` and `max_batch_time` of the batches that requests of
    `image_bytes` are collected in. These settings are deliberately kept away from mlserver's own
    batching options: mlserver would batch requests before validating them, and one invalid request
    would then fail the whole batch.
    """

    async def load(self) -> bool:
        parameters = self.settings.parameters
        self._loaded = tf.saved_model.load(parameters.uri)
        self._labels = tf.io.gfile.GFile(f'{parameters.uri}/{LABELS}').read()
        self._max_pixels = parameters.extra['max_pixels']
        self._encoded = self._batched(
            parameters.extra['max_batch_size'], parameters.extra['max_batch_time']
        )
        found = self._loaded.signatures['serving_default'].structured_outputs
        self.inputs = _metadata(INPUTS)
        self.outputs = _metadata({name: OUTPUTS[name] for name in _names(found)})
        return True

    def _batched(self, size, seconds):
        """The model of `serving_bytes`, which collects requests in batches if `size` is above 1."""
        settings = ModelSettings(
            name=self.name,
            implementation=_Encoded,
            max_batch_size=size,
            max_batch_time=seconds,
        )
        encoded = _Encoded(settings, self._loaded.signatures['serving_bytes'])
        return AdaptiveBatcher(encoded) if size > 1 else encoded

    async def metadata(self):
        """KServe's metadata of the model; `parameters.labels` holds class names and ids as json."""
        found = await super().metadata()
        return found.model_copy(update={'parameters': Parameters(labels=self._labels)})

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Detections of one request.

        Raises:
          InferenceError: an invalid request (HTTP 400, gRPC INVALID_ARGUMENT); the message names
            the fault.
        """
        given = _only_input(payload)
        if given.name == 'images':
            outputs = await self._detect_arrays(given)
        else:
            outputs = await self._detect_encoded(given)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)

    async def _detect_arrays(self, given):
        images = _arrays(given, self._max_pixels)
        signature = self._loaded.signatures['serving_default']
        found = await asyncio.to_thread(_run, signature, images=images)
        return [_tensor(name, found[name]) for name in _names(found)]

    async def _detect_encoded(self, given):
        encoded = _encoded(given, self._max_pixels)
        checked = RequestInput(
            name=given.name, datatype='BYTES', shape=[len(encoded)], data=encoded
        )
        # Shielded: if one client disconnects, the other requests of its batch are still answered.
        answer = await asyncio.shield(self._encoded.predict(InferenceRequest(inputs=[checked])))
        *outputs, faults = answer.outputs
        for i, fault in enumerate(faults.data):
            if fault:
                raise InferenceError(f'image {i} of image_bytes cannot be read: {fault}')
        return outputs


class _Encoded(MLModel):
    """The signature `serving_bytes` as a model that mlserver's batcher can call.

    Its additional output `faults` has one text per image, '' where the image was decoded, so that a
    damaged image does not fail the requests that share its batch.
    """

    def __init__(self, settings, signature):
        super().__init__(settings)
        self._signature = signature

    async def predict(self, payload):
        encoded = payload.inputs[0].data.root
        size = max(1, self.settings.max_batch_size)  # 0: mlserver's default, no batching
        found, faults = [], []
        # A single request may hold more images than a batch.
        for i in range(0, len(encoded), size):
            outputs, messages = await asyncio.to_thread(self._part, encoded[i : i + size])
            found.append(outputs)
            faults += messages
        tensors = [_tensor(name, _joined(found, name)) for name in _names(found[0])]
        tensors.append(
            ResponseOutput(name='faults', datatype='BYTES', shape=[len(faults)], data=faults)
        )
        return InferenceResponse(model_name=self.name, outputs=tensors)

    def _part(self, encoded):
        try:
            return _run(self._signature, image_bytes=encoded), [''] * len(encoded)
        except tf.errors.InvalidArgumentError:  # at least one image is damaged: find out which
            faults = [_fault(one) for one in encoded]
            readable = [
                _BLANK if fault else one for one, fault in zip(encoded, faults, strict=True)
            ]
            return _run(self._signature, image_bytes=readable), faults


def _names(found):
    """The names of outputs that a model has, in our order."""
    return [name for name in OUTPUTS if name in found]


def _joined(parts, name):
    """One array of those of several batches, of which masks are as large as their images."""
    arrays = [part[name] for part in parts]
    if name == 'mask':
        height, width = np.max([array.shape[1:] for array in arrays], 0)
        arrays = [
            np.pad(
                array,
                ((0, 0), (0, height - array.shape[1]), (0, width - array.shape[2])),
                constant_values=IGNORED,
            )
            for array in arrays
        ]
    return np.concatenate(arrays)


def _metadata(tensors):
    return [
        MetadataTensor(name=name, datatype=datatype, shape=shape)
        for name, (datatype, shape) in tensors.items()
    ]


def _run(signature, **inputs):
    found = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


def _tensor(name, array):
    datatype, _ = OUTPUTS[name]
    return ResponseOutput(
        name=name, datatype=datatype, shape=list(array.shape), data=array.ravel().tolist()
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
    expected, _ = INPUTS[given.name]
    found = getattr(given.datatype, 'value', given.datatype)  # an enum or plain text
    if found != expected:
        raise InferenceError(f'{given.name}: expected datatype {expected}, found {found}')
    if not given.shape or min(given.shape) < 1:
        raise InferenceError(f'{given.name}: shape {given.shape} holds no image')
    return given


def _encoded(given, max_pixels):
    """The encoded images of a request as a list of bytes.

    Sizes are read from the headers, so that an image of too many pixels is never decoded.
    """
    data = given.data.root
    if not isinstance(data, list) or not data or math.prod(given.shape) != len(data):
        raise InferenceError(f'image_bytes: shape {given.shape} does not fit the data')
    images = [_binary(one, i) for i, one in enumerate(data)]
    pixels = 0
    for i, image in enumerate(images):
        pixels += _pixels(image, i)
        _check_pixels(pixels, max_pixels)
    return images


def _binary(one, i):
    """Bytes unchanged (gRPC), text decoded from base64 (JSON)."""
    if isinstance(one, bytes):
        return one
    try:
        return base64.b64decode(one, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InferenceError(
            f'image {i} of image_bytes: expected base64 text, found {type(one).__name__} ({error})'
        ) from error


def _pixels(encoded, i):
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            # TensorFlow decodes all frames of a GIF, though only the first one is used.
            frames = opened.n_frames if opened.format == 'GIF' else 1
            return math.prod(opened.size) * frames
    except Exception as error:  # Pillow raises many types for damaged headers
        raise InferenceError(
            f'image {i} of image_bytes: not a readable {", ".join(FORMATS)} ({len(encoded)} bytes)'
        ) from error


def _arrays(given, max_pixels):
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


def _check_pixels(count, limit):
    if count > limit:
        raise InferenceError(
            f'the request has at least {count} pixels; this server accepts {limit} (--max_pixels)'
        )
