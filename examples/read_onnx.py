"""Reads an .onnx of `export_onnx` with ONNX Runtime alone: pip install onnxruntime pillow.

Example:
  python examples/read_onnx.py cells.onnx photo.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

path, *photos = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
names = json.loads(session.get_modelmeta().custom_metadata_map['keras_efficientdet'])['names']
for photo in photos:
    picture = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert('RGB'))
    outputs = session.run(['boxes', 'scores', 'classes', 'count'], {'images': picture[None]})
    boxes, scores, classes, count = (output[0] for output in outputs)
    for k in range(count):
        print(photo, names[classes[k]], f'{scores[k]:.5f}', *boxes[k].round(3))
