"""TFLite metadata (schema M001) and associated files: what MediaPipe and the Task library read beside the graph.

The schema is tflite-support's metadata_schema.fbs. Its Python writer installs on neither lane, so the few tables that a detector
needs are built here with `flatbuffers`.
"""

import io
import json
import zipfile

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_efficientdet.export.labels import INSIDE

LABEL_FILE = 'labels.txt'
_CONTENT = {'feature': 1, 'image': 2, 'box': 3}  # the union ContentProperties
_RGB, _BOUNDARIES, _RATIO, _VALUE_LABELS = 1, 1, 0, 3  # enums of the schema
# name, description, content, (first, last) axis of the content, in the order that readers look for
_OUTPUTS = {
    'boxes': ('location', 'Boxes ymin xmin ymax xmax, fractions of the input.', 'box', (2, 2)),
    'classes': ('category', 'Index into labels.txt.', 'feature', (2, 2)),
    'scores': ('score', 'Scores 0 to 1.', 'feature', (2, 2)),
    'count': ('number of detections', 'How many rows are detections.', 'feature', None),
}


def with_metadata(content, outputs, labels, size):
    """Bytes of a .tflite: its outputs put in the order of `outputs`, with metadata, and labels.txt and labels.json zipped on.

    Args:
      content: a converted model with one signature whose outputs have these names.
      labels: `labels.labels` of the configuration. size: (height, width) of the input.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    _order(model, outputs)
    _attach(model, detector_metadata(outputs, labels, size))
    builder = _Aligned(len(content))
    builder.Finish(model.Pack(builder), b'TFL3')
    return bytes(builder.Output()) + _zipped(
        {LABEL_FILE: '\n'.join(labels['names']) + '\n', INSIDE: json.dumps(labels)}
    )


class _Aligned(flatbuffers.Builder):
    """TFLite wants weights at multiples of 16 bytes (`force_align` in its schema), which the Python writer does not know."""

    def StartVector(self, size, count, alignment):
        return super().StartVector(size, count, 16 if size == 1 else alignment)


def _order(model, outputs):
    index = {row.name.decode(): row.tensorIndex for row in model.signatureDefs[0].outputs}
    model.subgraphs[0].outputs = [index[name] for name in outputs]


def _attach(model, metadata):
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    entry.name, entry.buffer = b'TFLITE_METADATA', len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def _zipped(files):
    """A zip archive after the flatbuffer is how TFLite packs associated files: zip readers start at the end."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as inside:
        for name, text in files.items():
            inside.writestr(name, text)
    return archive.getvalue()


def detector_metadata(outputs, labels, size):
    """The metadata flatbuffer of a detector: bytes."""
    b = flatbuffers.Builder(1024)
    image_size = _table(b, ('Uint32', size[1]), ('Uint32', size[0]))
    image = _tensor(
        b,
        'image',
        'RGB picture, 0 to 255; normalisation is inside.',
        'image',
        _table(b, ('Int8', _RGB), ('Offset', image_size)),
    )
    subgraph = _table(
        b,
        None,
        None,
        ('Offset', _vector(b, [image])),
        ('Offset', _vector(b, [_output(b, *_OUTPUTS[name]) for name in outputs])),
    )
    names = [
        b.CreateString(text)
        for text in (labels['model'], 'EfficientDet: boxes, classes, scores and their number.', '1')
    ]
    b.Finish(
        _table(
            b,
            *(('Offset', name) for name in names),
            ('Offset', _vector(b, [subgraph])),
            None,
            None,
            None,
            ('Offset', b.CreateString('1.0.0')),
        ),
        b'M001',
    )
    return bytes(b.Output())


def _output(b, name, description, kind, axes):
    files = None
    if name == 'category':
        label = b.CreateString(LABEL_FILE), b.CreateString('Name of each class.')
        files = _vector(
            b, [_table(b, ('Offset', label[0]), ('Offset', label[1]), ('Int8', _VALUE_LABELS))]
        )
    order = [1, 0, 3, 2]  # where left, top, right and bottom stand
    boundaries = (
        (('Offset', _numbers(b, order)), ('Int8', _BOUNDARIES), ('Int8', _RATIO))
        if kind == 'box'
        else ()
    )
    return _tensor(b, name, description, kind, _table(b, *boundaries), axes, files)


def _tensor(b, name, description, kind, properties, axes=None, files=None):
    reach = axes and ('Offset', _table(b, ('Int32', axes[0]), ('Int32', axes[1])))
    content = _table(b, ('Uint8', _CONTENT[kind]), ('Offset', properties), reach)
    texts = b.CreateString(name), b.CreateString(description)
    return _table(
        b,
        *(('Offset', text) for text in texts),
        None,
        ('Offset', content),
        None,
        None,
        files and ('Offset', files),
    )


def _table(b, *slots):
    """A table of (kind, value) in the order of the schema's fields, None for a field that is left out."""
    b.StartObject(len(slots))
    for i, slot in enumerate(slots):
        if slot is not None:
            kind, value = slot
            add = (
                b.PrependUOffsetTRelativeSlot
                if kind == 'Offset'
                else getattr(b, f'Prepend{kind}Slot')
            )
            add(i, value, 0)
    return b.EndObject()


def _vector(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _numbers(b, values):
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUint32(value)
    return b.EndVector()
