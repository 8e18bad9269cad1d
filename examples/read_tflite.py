"""Runs a .tflite file of `export_tflite` with LiteRT alone: pip install ai-edge-litert pillow.

The image is stretched to the network's size, as the readers on phones do. `Detector` keeps the
aspect ratio and pads instead, so its boxes differ a little.

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
source = interpreter.get_input_details()[0]
_, height, width, _ = source['shape']
results = [result['index'] for result in interpreter.get_output_details()]
for photo in photos:
    image = ImageOps.exif_transpose(Image.open(photo)).convert('RGB')
    interpreter.set_tensor(source['index'], np.asarray(image.resize((width, height)))[None])
    interpreter.invoke()
    boxes, classes, scores, count = (interpreter.get_tensor(index)[0] for index in results)
    to_pixels = np.array([image.height, image.width, image.height, image.width])
    for k in range(int(count)):
        box = boxes[k] * to_pixels  # ymin xmin ymax xmax
        print(photo, names[int(classes[k])], f'{scores[k]:.5f}', *box.round(3))
