"""Reads a SavedModel of `export_savedmodel` with TensorFlow alone.

Example:
  python examples/read_savedmodel.py exported/cells/1 photo.jpg
"""

import json
import pathlib
import sys

import tensorflow as tf

folder, *photos = sys.argv[1:]
model = tf.saved_model.load(folder)
names = json.loads((pathlib.Path(folder) / 'assets.extra' / 'labels.json').read_text())['names']
found = model.signatures['serving_bytes'](
    image_bytes=tf.constant([pathlib.Path(p).read_bytes() for p in photos])
)
found = {name: array.numpy() for name, array in found.items()}
for i, photo in enumerate(photos):
    for k in range(found['count'][i]):
        print(
            photo,
            names[found['classes'][i, k]],
            f'{found["scores"][i, k]:.5f}',
            *found['boxes'][i, k].round(3),
        )
