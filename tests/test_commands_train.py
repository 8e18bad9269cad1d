"""`efficientdet train` from a folder: with validation data, without, and continued."""

import shutil

import little
import other_formats
import pytest

from keras_efficientdet import load_config

SETTINGS = {key: value for key, value in little.TINY.items() if key != 'batch_size'}
WORDS = [f'{key}={value}' for key, value in {**SETTINGS, 'num_epochs': 1}.items()]


@pytest.fixture
def folder(sources, tmp_path):
    return other_formats.write_yolo(sources['val'], tmp_path / 'photos')


def test_training_from_a_yolo_folder(inside, folder, tmp_path, capsys):
    run = tmp_path / 'run'
    flags = [
        f'--train={folder}/train',
        f'--valid={folder}/train',
        f'--workdir={run}',
        '--recipe=small',
        *WORDS,
    ]
    assert inside('train', '--set=batch_size=4', *flags) == 0
    said = capsys.readouterr().out
    assert 'photos, split train: read as yolo' in said
    assert 'recipe small:' in said and 'best val_AP ' in said
    config = load_config(run / 'config.yaml')
    assert config.train.num_epochs == 1
    assert list(config.model.label_map.values()) == ['cat', 'dog', 'van']
    assert (run / 'report' / 'report.html').is_file()
    assert len((run / 'log.csv').open().readlines()) == 2

    shutil.rmtree(run / 'report')  # as if the report had been interrupted
    # The batch size is that of the training that was begun, and nothing is measured.
    assert inside('train', '--auto_batch', *flags) == 0
    said = capsys.readouterr().out
    assert 'batch_size 4: as the training in ' in said and 'this training is finished' in said
    assert (run / 'report' / 'report.html').is_file()


def test_training_without_validation_data(inside, folder, tmp_path, capsys):
    """With official hparams; evaluation takes as many candidates as the official one."""
    words = [word for word in WORDS if 'max_nms_inputs' not in word]
    flags = f'--train={folder}/train', f'--workdir={tmp_path}/run', *words
    flags = *flags, '--hparams=batch_size=4,nms_configs.method=hard'
    assert inside('train', *flags) == 0
    detect = load_config(tmp_path / 'run' / 'config.yaml').detect
    assert (detect.method, detect.max_nms_inputs) == ('hard', 5000)
    said = capsys.readouterr().out
    assert 'no --valid: ' in said
    assert ' images set aside for validation (train.seed=0)' in said and 'best val_AP ' in said
    assert inside('train', *flags) == 0  # the same images are set aside
    assert 'this training is finished' in capsys.readouterr().out
