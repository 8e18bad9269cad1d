"""TFLite metadata (schema M001) and associated files, which MediaPipe and the Task library read.

The schema is metadata_schema.fbs of tflite-support. That package installs neither on Python 3.11
with TensorFlow 2.15 nor on 3.12, and the module that flatc generates from the schema has several
thousand lines for the ten tables that a detector needs. So these tables are listed in `_TABLES` and
written with `flatbuffers` here.
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
# Fields in the order of the schema: the place of a field is its number in the file.
_TABLES = {
    'ModelMetadata': (
        'name',
        'description',
        'version',
        'subgraph_metadata',
        'author',
        'license',
        'associated_files',
        'min_parser_version',
    ),
    'SubGraphMetadata': (
        'name',
        'description',
        'input_tensor_metadata',
        'output_tensor_metadata',
    ),
    'TensorMetadata': (
        'name',
        'description',
        'dimension_names',
        'content',
        'process_units',
        'stats',
        'associated_files',
    ),
    'Content': ('content_properties_type', 'content_properties', 'range'),
    'ValueRange': ('min', 'max'),
    'FeatureProperties': (),
    'ImageProperties': ('color_space', 'default_size'),
    'ImageSize': ('width', 'height'),
    'BoundingBoxProperties': ('index', 'type', 'coordinate_type'),
    'AssociatedFile': ('name', 'description', 'type'),
}
# All other fields are strings, vectors or tables.
_SCALARS = {
    'content_properties_type': 'Uint8',
    'color_space': 'Int8',
    'type': 'Int8',
    'coordinate_type': 'Int8',
    'width': 'Uint32',
    'height': 'Uint32',
    'min': 'Int32',
    'max': 'Int32',
}
# Members of the schema's union and enums.
_UNION = {'FeatureProperties': 1, 'ImageProperties': 2, 'BoundingBoxProperties': 3}
_COLOR_SPACE_RGB = 1
_BOX_BOUNDARIES = 1  # corners, not centre and size
_COORDINATES_RATIO = 0  # normalised, not pixels
_FILE_VALUE_LABELS = 3
# Where left, top, right and bottom are in ymin xmin ymax xmax.
_BOX_ORDER = (1, 0, 3, 2)
# output: (name that readers look for, description)
_OUTPUTS = {
    'boxes': ('location', 'Boxes ymin xmin ymax xmax, normalised coordinates.'),
    'classes': ('category', 'Index into labels.txt.'),
    'scores': ('score', 'Scores 0 to 1.'),
    'count': ('number of detections', 'How many rows are detections.'),
    'mask': ('mask', 'Class of each pixel: 0 background, k + 1 is line k of labels.txt.'),
}


def with_metadata(
    content: bytes, outputs: tuple[str, ...], labels: dict, size: tuple[int, int]
) -> bytes:
    """A .tflite file with metadata, its outputs in the given order, and labels.txt and labels.json.

    Args:
      content: a converted model with one signature whose outputs have these names.
      labels: `labels.labels` of the configuration. size: (height, width) of the input.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    _order(model, outputs)
    _attach(model, detector_metadata(outputs, labels, size))
    builder = _Aligned(len(content))
    builder.Finish(model.Pack(builder), b'TFL3')
    files = {LABEL_FILE: '\n'.join(labels['names']) + '\n', INSIDE: json.dumps(labels)}
    return bytes(builder.Output()) + _zipped(files)


class _Aligned(flatbuffers.Builder):
    """A builder that aligns weights to 16 bytes.

    TFLite's schema demands it (`force_align`), but the Python code generated from it does not.
    """

    def StartVector(self, size, count, alignment):
        # Vectors of bytes (size 1) hold the weights.
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
    """A zip archive of {name: text}, which TFLite appends to the flatbuffer for associated files.

    That works because readers of zip archives start at the end of a file.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as inside:
        for name, text in files.items():
            inside.writestr(name, text)
    return archive.getvalue()


def detector_metadata(outputs: tuple[str, ...], labels: dict, size: tuple[int, int]) -> bytes:
    """The metadata flatbuffer of a detector with these outputs."""
    b = flatbuffers.Builder(1024)
    subgraph = _table(
        b,
        'SubGraphMetadata',
        input_tensor_metadata=_vector(b, [_image_input(b, size)]),
        output_tensor_metadata=_vector(b, [_output(b, name) for name in outputs]),
    )
    model = _table(
        b,
        'ModelMetadata',
        name=labels['model'],
        description='EfficientDet: boxes, classes, scores and their number.',
        version='1',
        subgraph_metadata=_vector(b, [subgraph]),
        min_parser_version='1.0.0',
    )
    b.Finish(model, b'M001')
    return bytes(b.Output())


def _image_input(b, size):
    height, width = size
    default_size = _table(b, 'ImageSize', width=width, height=height)
    return _table(
        b,
        'TensorMetadata',
        name='image',
        description='RGB image, 0 to 255; normalisation is inside.',
        content=_content(
            b, 'ImageProperties', color_space=_COLOR_SPACE_RGB, default_size=default_size
        ),
    )


def _output(b, output):
    name, description = _OUTPUTS[output]
    fields = {'name': name, 'description': description}
    if output == 'boxes':
        fields['content'] = _content(
            b,
            'BoundingBoxProperties',
            axis=2,
            index=_numbers(b, _BOX_ORDER),
            type=_BOX_BOUNDARIES,
            coordinate_type=_COORDINATES_RATIO,
        )
    else:
        # The number of detections is one number for the whole tensor, without an axis.
        axis = None if output == 'count' else 2
        fields['content'] = _content(b, 'FeatureProperties', axis=axis)
    if output == 'classes':
        fields['associated_files'] = _vector(b, [_label_file(b)])
    return _table(b, 'TensorMetadata', **fields)


def _label_file(b):
    return _table(
        b,
        'AssociatedFile',
        name=LABEL_FILE,
        description='Name of each class.',
        type=_FILE_VALUE_LABELS,
    )


def _content(b, kind, axis=None, **properties):
    """A table Content with properties of this kind, which describe one axis or the whole tensor."""
    fields = {
        'content_properties_type': _UNION[kind],
        'content_properties': _table(b, kind, **properties),
    }
    if axis is not None:
        fields['range'] = _table(b, 'ValueRange', min=axis, max=axis)
    return _table(b, 'Content', **fields)


def _table(b, kind, **fields):
    """Writes a table of `_TABLES`; fields are str, numbers, or offsets of vectors and tables."""
    # A flatbuffer is written from its leaves up: no string may be started inside of a table.
    values = {
        name: b.CreateString(value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    b.StartObject(len(_TABLES[kind]))
    for name, value in values.items():
        place = _TABLES[kind].index(name)
        if name in _SCALARS:
            getattr(b, f'Prepend{_SCALARS[name]}Slot')(place, value, 0)
        else:
            b.PrependUOffsetTRelativeSlot(place, value, 0)
    return b.EndObject()


def _vector(b, offsets):
    """A vector of tables; flatbuffers grow backwards, so the last one is written first."""
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _numbers(b, values):
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUint32(value)
    return b.EndVector()
