"""The whole way in minutes, without a download: draws data, trains, evaluates, exports, detects.

Example:
  python tools/demo.py --output=demo_output

The output folder receives detections.png, curves.png, saved_model/, the trained model (run/) and
its data (data/). The exit status is 1 if the detector does not reach AP50 0.80 on the held-out
images.
"""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import time

from command import run
from drawn_shapes import draw_data_set
from PIL import Image

from keras_efficientdet import (
    Detector,
    draw,
    evaluate,
    export_savedmodel,
    fit,
    load_config,
    read_coco,
    write_records,
)
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.evaluation.coco import metrics_text
from keras_efficientdet.evaluation.report.learning_curves import save_curves
from keras_efficientdet.imaging.drawing import grid
from keras_efficientdet.imaging.sources import read_image
from keras_efficientdet.training import load_trained

IMAGES = {'train': 320, 'val': 80}
SEEDS = {'train': 1, 'val': 2}
WANTED_AP50 = 0.80
EVALUATE_EVERY = 4
SETTINGS = {
    'optimizer': 'adam',
    'batch_size': 8,
    'learning_rate': 0.024,
    'lr_warmup_init': 1e-4,
    'lr_warmup_epoch': 0.5,
    'jitter_min': 0.8,
    'jitter_max': 1.25,
}
MADE = ('data', 'run', 'saved_model', 'detections.png', 'curves.png')
MARKER = '.made_by_demo'

# Runs in a Python of its own, to show that the export needs TensorFlow and nothing of this project.
_STRANGER = """
import json, pathlib, sys
import numpy as np
import tensorflow as tf
from PIL import Image
folder, path = map(pathlib.Path, sys.argv[1:])
labels = json.loads((folder / 'assets.extra' / 'labels.json').read_text(encoding='utf-8'))
loaded = tf.saved_model.load(str(folder))
pixels = np.asarray(Image.open(path).convert('RGB'))
outputs = loaded.signatures['serving_default'](images=tf.constant(pixels[None]))
found = {name: value.numpy()[0] for name, value in outputs.items()}
print(f'{path.name}, {pixels.shape[1]}x{pixels.shape[0]} (width x height):')
for box, score, k in zip(found['boxes'], found['scores'], found['classes']):
    if score >= 0.3:
        name, id_ = labels['names'][k], labels['ids'][k]
        print(f'  {name:<9} id {id_:>2}  score {score:.2f}  box (yxyx) {box.round().astype(int)}')
print('keras_efficientdet imported there:', 'keras_efficientdet' in sys.modules)
"""


def define(flags):
    flags.DEFINE_string(
        'output',
        'demo_output',
        'Folder for the results; what an earlier demo left there is replaced.',
    )
    flags.DEFINE_integer('epochs', 8, 'Epochs of 40 steps.')


def main(given):
    output = pathlib.Path(given.output)
    started = time.monotonic()
    start_afresh(output)
    with stage(f'drawing {IMAGES["train"]} images for training and {IMAGES["val"]} held-out ones'):
        for split in IMAGES:
            make_records(output / 'data', split)
    with stage('training efficientdet-lite0 on them, from an ImageNet backbone'):
        train(output, given.epochs)
    with stage('evaluating the stored weights on the held-out images'):
        model = load_trained(output / 'run')
        data = dataset(output / 'data' / 'val', model.detection_config, training=False)
        metrics = evaluate(model, data, progress=False)
        print(metrics_text(metrics))
    with stage('detecting in nine held-out images'):
        save_detections(model, held_out(output)[:9], output / 'detections.png')
    with stage('exporting a SavedModel'):
        exported = export_savedmodel(model, output / 'saved_model')
    with stage('detecting with the SavedModel in a new Python without keras_efficientdet'):
        print(ask_stranger(exported, held_out(output)[0]))
    seconds = time.monotonic() - started
    print(
        f'AP50 {metrics["AP50"]:.3f} (wanted {WANTED_AP50:.2f}) after {seconds:.0f} s; look at '
        f'{output / "detections.png"} and {output / "curves.png"}'
    )
    if not metrics['AP50'] >= WANTED_AP50:
        raise ValueError(
            f'AP50 {metrics["AP50"]:.3f} on the held-out images, expected at least {WANTED_AP50}'
        )


@contextlib.contextmanager
def stage(what):
    """Prints what begins, and at its end how many seconds it took."""
    print(f'== {what}', flush=True)
    started = time.monotonic()
    yield
    print(f'== done in {time.monotonic() - started:.0f} s\n', flush=True)


def start_afresh(output):
    """Removes what an earlier demo made in a folder, and nothing else.

    Raises FileExistsError if something has one of the names that no demo made.
    """
    left = [output / name for name in MADE if (output / name).exists()]
    if left and not (output / MARKER).exists():
        raise FileExistsError(
            f'{left[0]} exists and was not made by an earlier demo; choose another --output'
        )
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()


def make_records(folder, split):
    """Draws a split and writes its records: data/<split>_images, data/<split>."""
    annotations = draw_data_set(IMAGES[split], SEEDS[split], folder / f'{split}_images')
    source = read_coco(annotations, annotations.parent)
    summary = write_records(source, folder / split, progress=False)
    boxes = ', '.join(f'{name} {count}' for name, count in summary['boxes_per_class'].items())
    print(
        f'{split}: {summary["images"]} images ({summary["images_without_boxes"]} without objects), '
        f'boxes {boxes}'
    )


def train(output, epochs):
    """Leaves the training in run/, its curves in curves.png."""
    data = output / 'data'
    config = load_config(
        'efficientdet-lite0',
        [label_overrides(data / 'train'), SETTINGS, {'num_epochs': epochs}],
    )
    fit(
        config,
        data / 'train',
        data / 'val',
        output / 'run',
        weights='imagenet',
        evaluate_every=EVALUATE_EVERY,
    )
    save_curves(output / 'run/log.csv', output / 'curves.png')


def held_out(output):
    """Paths of the held-out images, in the order of the records."""
    folder = output / 'data' / 'val_images'
    return [photo.path for photo in read_coco(folder / 'instances.json', folder).photos]


def save_detections(model, paths, target):
    """Saves a sheet of images with what the model finds in them."""
    images = [read_image(p) for p in paths]
    found = Detector(model)(images)
    sheet = [draw(image, detections) for image, detections in zip(images, found, strict=True)]
    Image.fromarray(grid(sheet, cell=(408, 408))).save(target)


def ask_stranger(folder, image):
    """What a process prints that has only TensorFlow, NumPy and Pillow.

    Raises OSError if it fails.
    """
    done = subprocess.run(
        [sys.executable, '-c', _STRANGER, folder, image],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        raise OSError(f'the SavedModel failed in a new Python: {last}')
    return done.stdout.rstrip()


if __name__ == '__main__':
    run(sys.modules[__name__])
