"""Reads a .tflite of `export_tflite` with LiteRT alone: pip install ai-edge-litert pillow.

The picture is stretched to the network's size, as the readers on phones do; `images.letterbox` keeps its shape instead.

Example:
  python examples/read_tflite.py cells.tflite photo.jpg
"""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

path, *photos = sys.argv[1:]
interpreter = Interpreter(path)
interpreter.allocate_tensors()
names = zipfile.ZipFile(path).read('labels.txt').decode().splitlines()
source, results = interpreter.get_input_details()[0], interpreter.get_output_details()
for photo in photos:
    picture = ImageOps.exif_transpose(Image.open(photo)).convert('RGB')
    interpreter.set_tensor(
        source['index'], np.asarray(picture.resize(source['shape'][2:0:-1]))[None]
    )
    interpreter.invoke()
    boxes, classes, scores, count = (
        interpreter.get_tensor(result['index'])[0] for result in results
    )
    for k in range(int(count)):
        print(
            photo,
            names[int(classes[k])],
            f'{scores[k]:.5f}',
            *(boxes[k] * (picture.size[::-1] * 2)).round(3),
        )
