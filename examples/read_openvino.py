"""Reads an .xml of `export_openvino` with OpenVINO alone: pip install openvino pillow.

Example:
  python examples/read_openvino.py cells.xml photo.jpg
"""

import json
import sys

import numpy as np
import openvino
from PIL import Image, ImageOps

path, *photos = sys.argv[1:]
core = openvino.Core()
model = core.read_model(path)
names = json.loads(model.get_rt_info(['keras_efficientdet']).astype(str))['names']
run = core.compile_model(
    model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}
)  # the numbers of Keras; see docs/EXPORT.md
for photo in photos:
    picture = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert('RGB'))
    found = run(picture[None])
    boxes, scores, classes, count = (
        found[name][0] for name in ('boxes', 'scores', 'classes', 'count')
    )
    for k in range(count):
        print(photo, names[classes[k]], f'{scores[k]:.5f}', *boxes[k].round(3))
