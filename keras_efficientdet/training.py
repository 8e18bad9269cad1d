"""`compile_for_training` and `fit`: official training inside Keras' own loop."""
import csv
import pathlib

import keras
import yaml

from keras_efficientdet import doctor, schedules
from keras_efficientdet.config import load_config
from keras_efficientdet.data import dataset, validation_dataset
from keras_efficientdet.evaluation import STATISTICS, evaluate, report
from keras_efficientdet.models import detect_batch, efficientdet, head_of
from keras_efficientdet.training_state import TrainingState


def compile_for_training(model, config=None, steps_per_epoch=1000):
    """Compiles a model with the official losses, optimizer, learning rates, clipping and weight averages.

    After it plain `model.fit(dataset(..., training=True))` trains as the official code does.

    Args:
      model: the result of `efficientdet` (L2 regularisation is in its layers already).
      config: default: the one that the model carries.
      steps_per_epoch: optimizer steps; the schedule is made of it.
    """
    config = config or model.detection_config
    losses, weights = head_of(config).losses(config)
    model.compile(optimizer=schedules.optimizer(config.train, steps_per_epoch), loss=losses, loss_weights=weights,
                  weighted_metrics=[], jit_compile=False)
    model.training_state = TrainingState(model, config.train.moving_average_decay, config.train.batch_norm_ramp)


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates the averaged weights after some epochs: `val_AP`, `val_AP50`, ... stand in `logs` for the callbacks after it.

    Also swaps the averages in while Keras computes `val_loss`, and keeps the weights of the best val_AP in a file.

    Args:
      data: `dataset(..., training=False)`.
      epochs: which epochs, counted from 1 as Keras' validation_freq does; default: all.
      best_path: '.weights.h5' file for the best weights, or None.
    """

    def __init__(self, data, config, epochs=None, best_path=None):
        super().__init__()
        self.data, self.config, self.epochs, self.best_path = data, config, epochs, best_path
        self.best, self.detect = -1.0, None

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self):
        if self.model.training_state is not None:
            self.model.training_state.swap()

    def on_epoch_end(self, epoch, logs=None):
        if self.epochs is not None and epoch + 1 not in self.epochs:
            return
        self.detect = self.detect or detect_batch(self.model, self.config)
        self._swap()
        try:
            figures = evaluate(self.detect, self.data, self.config, progress=False)
            if self.best_path and figures['AP'] > self.best:
                self.best = figures['AP']
                _save_weights(self.model, self.best_path)
        finally:
            self._swap()
        logs.update({f'val_{name}': figures[name] for name in STATISTICS[:6]})
        print(f'\nepoch {epoch + 1}, validation:\n{report(figures)}')


class CsvLog(keras.callbacks.Callback):
    """One row per epoch, an empty cell where an epoch has no such figure. Keras' own CSVLogger knows the columns of the first
    epoch only, and so never writes a val_AP that is computed now and then."""

    def __init__(self, path):
        super().__init__()
        self.path, self.rows = pathlib.Path(path), []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({'epoch': epoch + 1, **logs})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        working = self.path.with_name(f'writing.{self.path.name}')
        with open(working, 'w', newline='') as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        working.replace(self.path)


class _KeepAverages(keras.callbacks.Callback):
    """Leaves the averaged weights in the model when training ends, as Keras' own use_ema does."""

    def on_train_end(self, logs=None):
        self.model.training_state.swap()


def fit(config, train, valid, workdir, *, weights=None, callbacks=(), evaluate_every=1):
    """Builds a detector, trains it, and leaves all that belongs to it in a folder.

    Prints which anchors cover which class before the first step (see `doctor`).

    Args:
      config: Config; `train.num_epochs`, `train.batch_size` and so on say how.
      train, valid: folders (or files) of TFRecords.
      workdir: for best.weights.h5 (averaged weights of the best val_AP), last.weights.h5 (averaged, end of training),
        config.yaml, log.csv and TensorBoard's logs.
      weights: what `efficientdet` takes; 'imagenet' for a pretrained backbone.
      callbacks: more Keras callbacks; they see `val_AP` in their logs.
      evaluate_every: epochs between evaluations; the last epoch is always evaluated.
    Returns:
      keras.callbacks.History; its `model` holds the averaged weights.
    """
    keras.utils.set_random_seed(config.train.seed)
    model = efficientdet(config, weights)
    config = model.detection_config                   # released weights bring their own scaling of the input
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / 'config.yaml').write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    print(doctor.advice(doctor.anchor_coverage(train, config)))
    data = dataset(train, config, training=True)
    compile_for_training(model, config, steps_per_epoch=int(data.cardinality()))
    epochs = range(1, config.train.num_epochs + 1)
    evaluated = [e for e in epochs if e % evaluate_every == 0 or e == epochs[-1]]
    evaluation = CocoEvaluation(dataset(valid, config, training=False), config, evaluated, workdir / 'best.weights.h5')
    keepers = [evaluation, CsvLog(workdir / 'log.csv'), keras.callbacks.TensorBoard(str(workdir / 'logs'))]
    history = model.fit(data, epochs=config.train.num_epochs, validation_data=validation_dataset(valid, config),
                        validation_freq=evaluated, callbacks=[*keepers, *callbacks, _KeepAverages()])
    _save_weights(model, workdir / 'last.weights.h5')
    return history


def load_trained(workdir, weights='best.weights.h5'):
    """The model that `fit` left in a folder, with its Config. Raises FileNotFoundError where there is none."""
    workdir = pathlib.Path(workdir)
    for name in ('config.yaml', weights):
        if not (workdir / name).is_file():
            raise FileNotFoundError(f'{workdir / name}: not there; {workdir} is no folder of a finished training')
    model = efficientdet(load_config(workdir / 'config.yaml'))
    model.load_weights(str(workdir / weights))
    return model


def _save_weights(model, path):
    """Writes under another name first, so that the file is never half written."""
    path = pathlib.Path(path)
    working = path.with_name(f'writing.{path.name}')
    model.save_weights(str(working))
    working.replace(path)
