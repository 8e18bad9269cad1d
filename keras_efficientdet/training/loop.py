"""`compile_for_training` and `fit`: official training inside Keras' own loop."""
import pathlib

import keras
import yaml

from keras_efficientdet import doctor
from keras_efficientdet.config import load_config
from keras_efficientdet.data import dataset, validation_dataset
from keras_efficientdet.models import efficientdet, head_of
from keras_efficientdet.training import schedules
from keras_efficientdet.training.callbacks import CocoEvaluation, CsvLog, KeepAverages, save_weights
from keras_efficientdet.training.state import TrainingState


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


def fit(config, train, valid, workdir, *, weights=None, callbacks=(), evaluate_every=1):
    """Builds a detector, trains it, and leaves all that belongs to it in a folder.

    Prints what the doctor finds in the data and settings before the first step (see `doctor.examine`).

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
    doctor.before_training(train, valid, config, weights)
    data = dataset(train, config, training=True)
    compile_for_training(model, config, steps_per_epoch=int(data.cardinality()))
    epochs = range(1, config.train.num_epochs + 1)
    evaluated = [e for e in epochs if e % evaluate_every == 0 or e == epochs[-1]]
    evaluation = CocoEvaluation(dataset(valid, config, training=False), config, evaluated, workdir / 'best.weights.h5')
    keepers = [evaluation, CsvLog(workdir / 'log.csv'), keras.callbacks.TensorBoard(str(workdir / 'logs'))]
    history = model.fit(data, epochs=config.train.num_epochs, validation_data=validation_dataset(valid, config),
                        validation_freq=evaluated, callbacks=[*keepers, *callbacks, KeepAverages()])
    save_weights(model, workdir / 'last.weights.h5')
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
