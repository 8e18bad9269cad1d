"""The self-test: a detector that cannot learn eight pictures by heart has a fault in its data or settings."""

import contextlib
import csv
import dataclasses
import math
import pathlib
import tempfile
import time

import keras
import tensorflow as tf
from tqdm import tqdm

from keras_efficientdet.config import class_names, load_config
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

PICTURES = 8
WANTED_AP50 = 0.9
CHUNK = 25  # steps between evaluations
SEARCHED = 2000  # pictures among which the eight are chosen
# Constant Adam of 1e-3 in each step, nothing random in the pictures or the network, no averages that lag behind.
SETTINGS = {
    'optimizer': 'adam',
    'learning_rate': 0.008,
    'batch_size': PICTURES,
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
    """What the self-test reached. curve: rows of step, loss, the loss of each output, AP, AP50 after each 25 steps."""

    ap50: float
    curve: list
    seconds: float
    findings: list

    @property
    def passed(self):
        """Whether AP50 is above 0.9 on the pictures that were trained on."""
        return self.ap50 > WANTED_AP50

    def save_curve(self, path):
        """Writes the curve as csv in the columns that `drawing.save_curves` reads; an `epoch` is 25 steps."""
        columns = {'AP': 'val_AP', 'AP50': 'val_AP50'}
        rows = [
            {'epoch': i, **{columns.get(k, k): v for k, v in row.items()}}
            for i, row in enumerate(self.curve, 1)
        ]
        with replaced_file(path) as working, open(working, 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def overfit(train, config, *, weights=None, steps=400):
    """Trains on eight pictures, without augmentation, until it knows them by heart (AP50 above 0.9) or `steps` are over.

    The pictures are chosen to have boxes of as many classes as possible. Image size, anchors, classes and scaling are those of
    the Config; optimizer, learning rate and augmentation are the test's own, so that what fails here is not a matter of them.

    Args:
      train: folder (or files) of TFRecords. weights: what `efficientdet` takes; 'imagenet' learns in a third of the time.
    Returns:
      Overfit. Its findings say what is wrong where it fails.
    Raises:
      DataError: no picture has a box that could be learned.
    """
    started = time.monotonic()
    keras.utils.set_random_seed(config.train.seed)
    with tempfile.TemporaryDirectory() as folder:
        chosen = choose(split_of_records('train', train, SEARCHED).images)
        subset = Split('the chosen pictures', [picture for _, picture in chosen], True, {})
        _copy(
            record_files(train),
            [row for row, _ in chosen],
            pathlib.Path(folder) / 'chosen.tfrecord',
        )
        config = load_config(config, [SETTINGS, {'batch_size': len(chosen)}])
        curve, figures = _train(folder, config, weights, steps)
    result = Overfit(curve[-1]['AP50'], curve, time.monotonic() - started, [])
    return (
        result
        if result.passed
        else dataclasses.replace(result, findings=_diagnosis(subset, config, curve, figures))
    )


def choose(pictures, count=PICTURES):
    """[(place, Picture)] of `count` pictures: each time the one with most new classes, among those the one with fewest boxes."""
    left = [(i, p) for i, p in enumerate(pictures) if p.learnable.any()]
    chosen, seen = [], set()
    while left and len(chosen) < count:
        best = min(left, key=lambda row: (-len(set(row[1].labels) - seen), len(row[1].boxes)))
        left.remove(best)
        chosen.append(best)
        seen |= set(best[1].labels)
    if not chosen:
        raise DataError(
            'no picture has a box that could be learned; the doctor without --overfit says more'
        )
    return sorted(chosen, key=lambda row: row[0])


def _copy(files, rows, path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, serialized in enumerate(
            tf.data.TFRecordDataset(files).take(max(rows) + 1).as_numpy_iterator()
        ):
            if i in rows:
                writer.write(serialized)


def _train(folder, config, weights, steps):
    """(curve, figures of the last evaluation)"""
    model = efficientdet(config, weights, on_class_mismatch='reinit')
    config = model.detection_config
    compile_for_training(model, config, steps_per_epoch=1)
    batches, plain = (
        dataset(folder, config, training=True).cache().repeat(),
        dataset(folder, config, training=False).cache(),
    )
    detect, curve = detect_batch(model, config), []
    with contextlib.closing(tqdm(total=steps, desc='overfitting', unit=' steps')) as progress:
        while True:
            logs = model.fit(batches, steps_per_epoch=CHUNK, verbose=0).history
            figures = evaluate(detect, plain, config, progress=False)
            names = ['loss', *(name for name in logs if name.endswith('_loss'))]
            losses = {name: logs[name][-1] for name in names}
            curve.append(
                {
                    'step': CHUNK * (len(curve) + 1),
                    **losses,
                    'AP': figures['AP'],
                    'AP50': figures['AP50'],
                }
            )
            progress.update(CHUNK)
            progress.set_postfix(loss=f'{losses["loss"]:.3f}', AP50=f'{figures["AP50"]:.3f}')
            if (
                figures['AP50'] > WANTED_AP50
                or curve[-1]['step'] >= steps
                or not math.isfinite(losses['loss'])
            ):
                return curve, figures


def _diagnosis(subset, config, curve, figures):
    last, first = curve[-1], curve[0]
    found = (
        f'AP50 {last["AP50"]:.2f} after {last["step"]} steps on {len(subset.images)} pictures; loss from '
        f'{first["loss"]:.3f} to {last["loss"]:.3f}'
    )
    if not math.isfinite(last['loss']):
        fix = 'the loss is not finite: look for boxes without area and for scaling of the input'
    elif len(curve) > 2 and last['loss'] < 0.9 * curve[-3]['loss']:
        fix = 'the loss still falls: give it more steps'
    else:
        fix = 'the loss no longer falls: look at the drawn batch, the boxes do not say where the objects are'
    poor = [name for name, row in figures['per_class'].items() if row['AP50'] < WANTED_AP50]
    findings = [Finding('overfit.failed', 'error', found, fix, split=subset.name)]
    if poor:
        findings.append(
            Finding(
                'overfit.classes',
                'warning',
                f'not learned: {", ".join(poor[:8])} (of {len(class_names(config.model))} classes)',
                'look at the boxes of these classes',
                split=subset.name,
            )
        )
    return findings + check_boxes(subset, config) + check_anchors(subset, config)
