"""Runs a SavedModel of `export_savedmodel` with TensorFlow alone.

Example:
  python examples/read_savedmodel.py exported/cells/1 photo.jpg
"""

import json
import pathlib
import sys

import tensorflow as tf

folder, *photos = sys.argv[1:]
model = tf.saved_model.load(folder)
labels = json.loads(pathlib.Path(folder, 'assets.extra', 'labels.json').read_text(encoding='utf-8'))
encoded = tf.constant([pathlib.Path(photo).read_bytes() for photo in photos])
outputs = model.signatures['serving_bytes'](image_bytes=encoded)
found = {name: value.numpy() for name, value in outputs.items()}
for i, photo in enumerate(photos):
    for k in range(found['count'][i]):
        name = labels['names'][found['classes'][i, k]]
        score = found['scores'][i, k]
        box = found['boxes'][i, k]  # ymin xmin ymax xmax, pixels
        print(photo, name, f'{score:.5f}', *box.round(3))
