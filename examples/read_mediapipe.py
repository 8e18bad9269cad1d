"""Runs a .tflite file of `export_tflite` with MediaPipe's object detector.

MediaPipe needs an environment of its own: pip install mediapipe.

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
            best = found.categories[0]
            box = found.bounding_box
            ymin, xmin = box.origin_y, box.origin_x
            ymax, xmax = ymin + box.height, xmin + box.width
            print(photo, best.category_name, f'{best.score:.5f}', ymin, xmin, ymax, xmax)
