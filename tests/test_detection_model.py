"""What a detector says to data that Keras' own `fit` and `evaluate` cannot take."""

import os
import subprocess
import sys

import drawn
import numpy as np
import official
import pytest
from little import little_config

from keras_efficientdet import (
    compile_for_training,
    dataset,
    efficientdet,
    validation_dataset,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    boxes = [drawn.box(4 + i, 6, 60, 70, (1, 18, 400)[i % 3]) for i in range(4)]
    pictures = [(96, 100 + i, [box]) for i, box in enumerate(boxes)]
    return drawn.records(tmp_path_factory.mktemp('records'), pictures)


@pytest.fixture
def config(folder):
    return little_config(folder, {'box_class_repeats': 1, 'batch_size': 2})


@pytest.fixture
def model(config):
    model = efficientdet(config)
    compile_for_training(model, config, steps_per_epoch=2)
    return model


def test_validation_data_of_a_plain_fit(model, config, folder):
    official.bug_input('validation_data_of_plain_fit')
    given = {'epochs': 1, 'verbose': 0}
    train = dataset(folder, config, training=True)
    with pytest.raises(ValueError, match=r'Give Keras validation_dataset\(data, config\)'):
        model.fit(train, validation_data=dataset(folder, config, training=False), **given)


def test_what_to_give_instead(model, config, folder):
    train, valid = dataset(folder, config, training=True), validation_dataset(folder, config)
    history = model.fit(train, validation_data=valid, epochs=1, verbose=0).history
    assert np.isfinite(history['val_loss'][0]) and history['val_boxes_loss'][0] > 0


@pytest.mark.parametrize('method', ['fit', 'evaluate'])
def test_labels_are_no_targets(model, config, folder, method):
    with pytest.raises(ValueError, match='these batches hold boxes for `evaluate`'):
        getattr(model, method)(dataset(folder, config, training=False), verbose=0)


CHANNELS_FIRST = """
import keras, sys
import numpy as np
import keras_efficientdet as ked

assert keras.backend.image_data_format() == 'channels_first'
config = ked.load_config('efficientdet-d0', {'image_size': 128, 'num_classes': 2})
model = ked.efficientdet(config)
image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
wanted = ked.Detector(model)(image)[0]
model.save(sys.argv[1] + '/model.keras')
found = ked.Detector(sys.argv[1] + '/model.keras')(image)[0]
assert len(wanted) > 0 and np.allclose(found.boxes, wanted.boxes, atol=1e-3)
assert keras.backend.image_data_format() == 'channels_first'
"""


def test_channels_come_last_whatever_keras_json_says(tmp_path):
    settings = official.bug_input('keras_json_channels_first') / 'keras.json'
    (tmp_path / 'keras.json').write_bytes(settings.read_bytes())
    environment = {**os.environ, 'KERAS_HOME': str(tmp_path), 'PYTHONPATH': ':'.join(sys.path)}
    command = [sys.executable, '-c', CHANNELS_FIRST, str(tmp_path)]
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
