"""Runs an .onnx file of `export_onnx` with ONNX Runtime alone: pip install onnxruntime pillow.

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
labels = json.loads(session.get_modelmeta().custom_metadata_map['keras_efficientdet'])
for photo in photos:
    image = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert('RGB'))
    names = ['boxes', 'scores', 'classes', 'count']
    outputs = session.run(names, {'images': image[None]})
    boxes, scores, classes, count = (output[0] for output in outputs)
    for k in range(count):
        box = boxes[k]  # ymin xmin ymax xmax, pixels
        print(photo, labels['names'][classes[k]], f'{scores[k]:.5f}', *box.round(3))
