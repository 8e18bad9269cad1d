"""Finds objects in photos; writes the photos with boxes, and detections.json.

Example:
  python tools/detect.py --model=runs/first --images='photos/*.jpg' --output=found
"""
import glob
import json
import pathlib

from absl import flags
from command import run
from PIL import Image
from tqdm import tqdm

from keras_efficientdet import Detector, draw
from keras_efficientdet.serving import read_picture

_MODEL = flags.DEFINE_string('model', None, 'Folder of train.py, .keras file or exported SavedModel.', required=True)
_IMAGES = flags.DEFINE_string('images', None, 'Picture, folder or glob pattern.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the results.', required=True)
_SCORE = flags.DEFINE_float('min_score', 0.3, 'Lowest score to draw and to list.')


def main(_):
    pattern = f'{_IMAGES.value}/*' if pathlib.Path(_IMAGES.value).is_dir() else _IMAGES.value
    paths = [p for p in sorted(glob.glob(pattern)) if pathlib.Path(p).is_file()]
    if not paths:
        raise FileNotFoundError(f'{_IMAGES.value}: no pictures there')
    detector, output = Detector(_MODEL.value), pathlib.Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in tqdm(paths, desc='detecting', unit=' pictures'):
        picture = read_picture(path)
        found = detector(picture)[0].above(_SCORE.value)
        Image.fromarray(draw(picture, found, min_score=0.)).save(output / f'{pathlib.Path(path).stem}.png')
        rows += [{'file': path, 'class': found.names[k], 'category_id': found.ids[k], 'score': round(float(score), 4),
                  'box_yxyx': [round(float(v), 1) for v in box]} for box, score, k in
                 zip(found.boxes, found.scores, found.classes, strict=True)]
    (output / 'detections.json').write_text(json.dumps(rows, indent=1))
    for row in rows[:20]:
        print(f'{row["file"]}  {row["class"]} {row["score"]:.2f}  {row["box_yxyx"]}')
    print(f'{len(rows)} detections in {len(paths)} pictures -> {output}')


if __name__ == '__main__':
    run(main)
