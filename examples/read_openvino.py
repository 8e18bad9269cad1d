"""Runs an .xml file of `export_openvino` with OpenVINO alone: pip install openvino pillow.

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
labels = json.loads(model.get_rt_info(['keras_efficientdet']).astype(str))
# float32, for the numbers of Keras: by default OpenVINO may compute in bfloat16 (docs/EXPORT.md).
run = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
for photo in photos:
    image = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert('RGB'))
    found = run(image[None])
    count = found['count'][0]
    for k in range(count):
        name = labels['names'][found['classes'][0, k]]
        score = found['scores'][0, k]
        box = found['boxes'][0, k]  # ymin xmin ymax xmax, pixels
        print(photo, name, f'{score:.5f}', *box.round(3))
