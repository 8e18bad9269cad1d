"""The self-test: if a detector cannot overfit eight images, its data or settings are at fault."""

import contextlib
import csv
import dataclasses
import math
import pathlib
import tempfile
import time
import typing

import keras
import tensorflow as tf
from tqdm import tqdm

from keras_efficientdet.config import Config, class_names, load_config
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.records import record_files
from keras_efficientdet.doctor.anchors import check_anchors
from keras_efficientdet.doctor.boxes import check_boxes
from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.doctor.split import Split, split_of_records
from keras_efficientdet.errors import DataError
from keras_efficientdet.evaluation.coco import evaluate
from keras_efficientdet.files import replaced_file
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.training.compile import compile_for_training

IMAGES = 8
WANTED_AP50 = 0.9
CHUNK = 25  # steps between evaluations
SEARCHED = 2000  # images among which the eight are chosen
# Adam with a constant rate of 1e-3 a step (0.008 is per 64 images), nothing random in images or
# network, and no averages, which would lag behind.
SETTINGS = {
    'optimizer': 'adam',
    'learning_rate': 0.008,
    'batch_size': IMAGES,
    'lr_decay_method': 'constant',
    'lr_warmup_init': 1e-4,
    'lr_warmup_epoch': CHUNK,
    'moving_average_decay': 0.0,
    'batch_norm_ramp': True,
    'input_rand_hflip': False,
    'jitter_min': 1.0,
    'jitter_max': 1.0,
    'survival_prob': 1.0,
    'weight_decay': 0.0,
    'input_rand_vflip': False,
    'color_jitter': 0.0,
    'autoaugment_policy': None,
    'grid_mask': False,
    'mosaic_prob': 0.0,
    'mixup_prob': 0.0,
    'freeze': None,
    'accumulation_steps': 1,
    'steps_per_execution': 1,
    'data_service': None,
}


@dataclasses.dataclass(frozen=True)
class Overfit:
    """The result of the self-test.

    curve: a dict of step, loss, the loss of each output, AP, AP50 after each 25 steps.
    findings: of the doctor, where the test failed.
    """

    ap50: float
    curve: list[dict]
    seconds: float
    findings: list[Finding]

    @property
    def passed(self):
        """Whether AP50 is above 0.9 on the training images."""
        return self.ap50 > WANTED_AP50

    def save_curve(self, path):
        """Writes the curve as csv, with the columns of `fit`'s log.csv; an `epoch` is 25 steps."""
        columns = {'AP': 'val_AP', 'AP50': 'val_AP50'}
        rows = []
        for epoch, row in enumerate(self.curve, 1):
            renamed = {columns.get(name, name): value for name, value in row.items()}
            rows.append({'epoch': epoch, **renamed})
        with (
            replaced_file(path) as working,
            open(working, 'w', encoding='utf-8', newline='') as file,
        ):
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def overfit(
    train: typing.Any, config: Config, *, weights: typing.Any = None, steps: int = 400
) -> Overfit:
    """Trains on eight images without augmentation, until AP50 on them is above 0.9.

    The images are chosen to have boxes of as many classes as possible. Image size, anchors, classes
    and scaling are those of the Config; optimizer, learning rate and augmentation are fixed, so
    that a failure cannot be due to them.

    Args:
      train: folder (or files) of TFRecords.
      weights: what `efficientdet` takes; 'imagenet' learns in a third of the time.
      steps: to stop after.
    Returns:
      Overfit. Its findings name probable causes if the test failed.
    Raises:
      DataError: no image has a box that could be learned.
    """
    started = time.monotonic()
    keras.utils.set_random_seed(config.train.seed)
    with tempfile.TemporaryDirectory() as folder:
        chosen = choose(split_of_records('train', train, SEARCHED).images)
        subset = Split('the chosen images', [image for _, image in chosen], True, {})
        rows = [row for row, _ in chosen]
        _copy(record_files(train), rows, pathlib.Path(folder) / 'chosen.tfrecord')
        config = load_config(config, [SETTINGS, {'batch_size': len(chosen)}])
        curve, metrics = _train(folder, config, weights, steps)
    result = Overfit(curve[-1]['AP50'], curve, time.monotonic() - started, [])
    if result.passed:
        return result
    return dataclasses.replace(result, findings=_diagnosis(subset, config, curve, metrics))


def choose(images, count=IMAGES):
    """[(place, image)] of `count` images, in order of their places.

    Each choice is the image with most classes that no earlier one has, and of those the one with
    fewest boxes.
    """
    left = [(place, image) for place, image in enumerate(images) if image.learnable.any()]
    chosen, seen = [], set()

    def rank(candidate):
        _, image = candidate
        return -len(set(image.labels) - seen), len(image.boxes)

    while left and len(chosen) < count:
        best = min(left, key=rank)
        left.remove(best)
        chosen.append(best)
        seen |= set(best[1].labels)
    if not chosen:
        raise DataError(
            'no image has a box that could be learned; the doctor without --overfit tells more'
        )
    return sorted(chosen, key=lambda candidate: candidate[0])


def _copy(files, rows, path):
    """Writes the records at some places into a file."""
    records = tf.data.TFRecordDataset(files).take(max(rows) + 1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for place, serialized in enumerate(records.as_numpy_iterator()):
            if place in rows:
                writer.write(serialized)


def _train(folder, config, weights, steps):
    """(curve, metrics of the last evaluation)"""
    model = efficientdet(config, weights, on_class_mismatch='reinit')
    config = model.detection_config
    compile_for_training(model, config, steps_per_epoch=1)
    batches = dataset(folder, config, training=True).cache().repeat()
    plain = dataset(folder, config, training=False).cache()
    detect = detect_batch(model, config)
    curve = []
    with contextlib.closing(tqdm(total=steps, desc='overfitting', unit=' steps')) as progress:
        while True:
            logs = model.fit(batches, steps_per_epoch=CHUNK, verbose=0).history
            metrics = evaluate(detect, plain, config, progress=False)
            names = ['loss', *(name for name in logs if name.endswith('_loss'))]
            row = {'step': CHUNK * (len(curve) + 1)}
            row |= {name: logs[name][-1] for name in names}
            row |= {name: metrics[name] for name in ('AP', 'AP50')}
            curve.append(row)
            progress.update(CHUNK)
            progress.set_postfix(loss=f'{row["loss"]:.3f}', AP50=f'{row["AP50"]:.3f}')
            done = row['AP50'] > WANTED_AP50 or row['step'] >= steps
            if done or not math.isfinite(row['loss']):
                return curve, metrics


def _diagnosis(subset, config, curve, metrics):
    """Findings about a test that failed."""
    last, first = curve[-1], curve[0]
    found = (
        f'AP50 {last["AP50"]:.2f} after {last["step"]} steps on {len(subset.images)} images; loss '
        f'from {first["loss"]:.3f} to {last["loss"]:.3f}'
    )
    if not math.isfinite(last['loss']):
        fix = 'the loss is not finite: look for boxes without area, and at the scaling of the input'
    elif len(curve) > 2 and last['loss'] < 0.9 * curve[-3]['loss']:
        fix = 'the loss still falls: allow more steps'
    else:
        fix = (
            'the loss no longer falls: look at the drawn batch, the boxes may not be where the '
            'objects are'
        )
    poor = [name for name, row in metrics['per_class'].items() if row['AP50'] < WANTED_AP50]
    numbers = {'AP50': last['AP50'], 'steps': last['step'], 'images': len(subset.images)}
    findings = [Finding('overfit.failed', 'error', found, fix, split=subset.name, numbers=numbers)]
    if poor:
        findings.append(
            Finding(
                'overfit.classes',
                'warning',
                f'not learned: {", ".join(poor[:8])} (of {len(class_names(config.model))} classes)',
                'look at the boxes of these classes',
                split=subset.name,
                numbers={'classes': poor},
            )
        )
    return findings + check_boxes(subset, config) + check_anchors(subset, config)
