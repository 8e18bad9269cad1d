"""Reads a .tflite of `export_tflite` with MediaPipe's object detector: pip install mediapipe, in an environment of its own.

Example:
  python examples/read_mediapipe.py cells.tflite photo.jpg
"""

import sys

import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

path, *photos = sys.argv[1:]
options = vision.ObjectDetectorOptions(
    base_options=BaseOptions(model_asset_path=path), score_threshold=0.1
)
with vision.ObjectDetector.create_from_options(options) as detector:
    for photo in photos:
        for found in detector.detect(mediapipe.Image.create_from_file(photo)).detections:
            box, best = found.bounding_box, found.categories[0]
            print(
                photo,
                best.category_name,
                f'{best.score:.5f}',
                box.origin_y,
                box.origin_x,
                box.origin_y + box.height,
                box.origin_x + box.width,
            )
