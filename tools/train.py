"""Trains a detector on TFRecords made by make_records.py (or by the official converters).

Example:
  python tools/train.py --train=records/train --valid=records/val --workdir=runs/first --weights=imagenet \\
      --set=batch_size=8 --set=num_epochs=12 --set=optimizer=adam --set=learning_rate=0.024 --set=anchor_scale=2.0

Every key of keras_efficientdet/config.py can be set; --hparams takes what the official programs take. Learning rates are given
for batch 64 and scaled with the batch.
"""
import yaml
from absl import flags
from command import run

from keras_efficientdet import evaluate, fit, load_config
from keras_efficientdet.data import dataset
from keras_efficientdet.evaluation import report
from keras_efficientdet.official_hparams import from_official
from keras_efficientdet.records import label_overrides
from keras_efficientdet.training import load_trained

_MODEL = flags.DEFINE_string('model', 'efficientdet-lite0', 'Name of a configuration, or a yaml file.')
_TRAIN = flags.DEFINE_string('train', None, 'Folder of records to train on.', required=True)
_VALID = flags.DEFINE_string('valid', None, 'Folder of records to evaluate on after each epoch.', required=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder for weights, logs and the report.', required=True)
_WEIGHTS = flags.DEFINE_string('weights', None, 'imagenet, coco, an official checkpoint, or a .weights.h5 file; default random.')
_SET = flags.DEFINE_multi_string('set', [], 'key=value, any number of times.')
_HPARAMS = flags.DEFINE_string('hparams', '', 'Official hparams, "a=1,b.c=2" or a yaml file; --set comes after them.')
_EVERY = flags.DEFINE_integer('evaluate_every', 1, 'Epochs between evaluations.')
_TEST = flags.DEFINE_string('test', None, 'Folder of records to evaluate the best weights on in the end.')


def main(_):
    converted, left_out = from_official(_HPARAMS.value)
    if left_out:
        print(f'{len(left_out)} official keys are without effect here:')
        print(''.join(f'  {key}: {reason}\n' for key, reason in left_out.items()), end='')
    config = load_config(_MODEL.value, [label_overrides(_TRAIN.value), converted, *_SET.value])
    history = fit(config, _TRAIN.value, _VALID.value, _WORKDIR.value, weights=_WEIGHTS.value, evaluate_every=_EVERY.value)
    print(f'best val_AP {max(history.history["val_AP"]):.3f}; weights and log in {_WORKDIR.value}, look at '
          f'{_WORKDIR.value}/report/report.html')
    if _TEST.value:
        figures = evaluate(load_trained(_WORKDIR.value), dataset(_TEST.value, config, training=False))
        with open(f'{_WORKDIR.value}/test.yaml', 'w') as file:
            yaml.safe_dump(figures, file, sort_keys=False)
        print(f'{_TEST.value}:\n{report(figures)}')


if __name__ == '__main__':
    run(main)
