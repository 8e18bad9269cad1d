"""Trains a detector on a data set of any known format, or on TFRecords (of make_records.py or the official converters).

Example:
  python tools/train.py --train=photos/train --valid=photos/val --workdir=runs/first --weights=imagenet \\
      --set=batch_size=8 --set=num_epochs=12 --set=optimizer=adam --set=learning_rate=0.024 --set=anchor_scale=2.0

Every key of keras_efficientdet/config.py can be set; --hparams takes what the official programs take. Learning rates are given
for batch 64 and scaled with the batch. photos/train is a folder, or the split train of the data set in photos/.
"""

import os
import pathlib

import yaml
from absl import flags
from command import run

from keras_efficientdet import evaluate, fit, load_config
from keras_efficientdet.config.official import from_official
from keras_efficientdet.data.cache import label_overrides, records_of
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.records import count_examples
from keras_efficientdet.evaluation.coco import report
from keras_efficientdet.files import replaced_file
from keras_efficientdet.training import is_chief, load_trained, strategy_for
from keras_efficientdet.training.batch_size import batch_for
from keras_efficientdet.training.recipes import RECIPES, explain, recipe
from keras_efficientdet.training.resume import checkpoints_in
from keras_efficientdet.weights.released import released_config, released_sets

_MODEL = flags.DEFINE_string(
    'model', 'efficientdet-lite0', 'Name of a configuration, or a yaml file.'
)
_TRAIN = flags.DEFINE_string(
    'train',
    None,
    'Data to train on: folder, folder/split, or file of any known format.',
    required=True,
)
_VALID = flags.DEFINE_string('valid', None, 'Data to evaluate on after each epoch.', required=True)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder for weights, logs and the report.', required=True
)
_WEIGHTS = flags.DEFINE_string(
    'weights',
    None,
    'imagenet, coco, an official checkpoint, or a .weights.h5 file; default random.',
)
_SET = flags.DEFINE_multi_string('set', [], 'key=value, any number of times.')
_HPARAMS = flags.DEFINE_string(
    'hparams', '', 'Official hparams, "a=1,b.c=2" or a yaml file; --set comes after them.'
)
_RECIPE = flags.DEFINE_enum(
    'recipe', None, sorted(RECIPES), 'Settings by the size of the data; --set and --hparams win.'
)
_EVERY = flags.DEFINE_integer('evaluate_every', 1, 'Epochs between evaluations.')
_STRATEGY = flags.DEFINE_enum(
    'strategy',
    'auto',
    ['auto', 'one', 'mirrored', 'multi_worker', 'tpu'],
    'One device or several; auto decides by TF_CONFIG, TPU_NAME and the GPUs (docs/TRAINING.md).',
)
_AUTO_BATCH = flags.DEFINE_bool(
    'auto_batch', False, 'batch_size is the largest that fits and leaves ten steps an epoch.'
)
_TEST = flags.DEFINE_string('test', None, 'Data to evaluate the best weights on in the end.')


def configured(train, given):
    """(Config of the model, the data, the recipe and what was given; what the recipe chose and why)"""
    config = load_config(_MODEL.value, [label_overrides(train), *given])
    if not _RECIPE.value:
        return config, ''
    if _RECIPE.value == 'finetune' and not _WEIGHTS.value:
        raise ValueError(
            '--recipe=finetune starts from weights: give --weights=coco, imagenet or a checkpoint, or take small or '
            'scratch'
        )
    chosen, reasons = recipe(_RECIPE.value, config, count_examples(train))
    config = load_config(config, [chosen, *given])
    return config, f'recipe {_RECIPE.value}:\n{explain(chosen, reasons, config)}\n'


def batch_size(train, given, strategy):
    """{'batch_size': of the training that workdir holds, or the largest that fits}"""
    workdir = pathlib.Path(_WORKDIR.value)
    if checkpoints_in(workdir / 'checkpoint'):  # config.yaml alone is of one that came to nothing
        begun = load_config(workdir / 'config.yaml').train.batch_size
        print(f'batch_size {begun}: as the training in {workdir} began')
        return {'batch_size': begun}
    config, _ = configured(train, given)
    if _WEIGHTS.value in released_sets():
        config = released_config(config, _WEIGHTS.value)
    return batch_for(config, count_examples(train), strategy.num_replicas_in_sync)


def main(_):
    if _AUTO_BATCH.value:
        os.environ.setdefault(
            'TF_FORCE_GPU_ALLOW_GROWTH', 'true'
        )  # else nothing is left for the process that measures
    strategy = strategy_for(_STRATEGY.value)  # first: workers are joined before anything else
    converted, left_out = from_official(_HPARAMS.value)
    if left_out:
        print(f'{len(left_out)} official keys are without effect here:')
        print(''.join(f'  {key}: {reason}\n' for key, reason in left_out.items()), end='')
    if _AUTO_BATCH.value and (
        'batch_size' in converted or any('batch_size=' in text for text in _SET.value)
    ):
        raise ValueError(
            '--auto_batch chooses batch_size, and it is set beside it; leave one of them out'
        )
    train = records_of(_TRAIN.value)
    given = [converted, *_SET.value]
    if _AUTO_BATCH.value:
        given.append(batch_size(train, given, strategy))
    config, chosen = configured(train, given)
    print(chosen, end='')
    history = fit(
        config,
        train,
        _VALID.value,
        _WORKDIR.value,
        weights=_WEIGHTS.value,
        evaluate_every=_EVERY.value,
        strategy=strategy,
    )
    if not is_chief(strategy):
        return  # what follows reads and writes the chief's files
    print(
        f'best val_AP {max(history.history["val_AP"]):.3f}; weights and log in {_WORKDIR.value}, look at '
        f'{_WORKDIR.value}/report/report.html'
    )
    if _TEST.value:
        model = load_trained(
            _WORKDIR.value
        )  # its Config is not ours: released weights bring settings of their own
        figures = evaluate(model, dataset(_TEST.value, model.detection_config, training=False))
        with replaced_file(f'{_WORKDIR.value}/test.yaml') as working:
            working.write_text(yaml.safe_dump(figures, sort_keys=False))
        print(f'{_TEST.value}:\n{report(figures)}')


if __name__ == '__main__':
    run(main)
