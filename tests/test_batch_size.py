"""The largest batch: a line through what was measured, and real steps in a process of their own."""

import subprocess
import sys

import pytest

from keras_efficientdet import load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.batch_size import _fitting, _rounded, batch_for, largest_batch
from keras_efficientdet.training.step_memory import Measured, free_in_group, free_memory, measured

GIB = 2**30
LITTLE = {'image_size': 64, 'num_classes': 2, 'moving_average_decay': 0.0}


@pytest.mark.parametrize(
    'peaks, memory, full, images',
    [
        ({1: 1, 2: 2, 8: 8}, 20, False, 16),  # 8 of 20 GiB, one for each image: 16 fill four fifths
        ({1: 5, 2: 3, 8: 6}, 20, False, 28),  # the last two count: 8 + (16 - 6) / 0.5
        ({1: 1, 2: 1.1}, 20, False, 8),  # no further than four times the largest
        ({1: 3, 2: 3, 8: 3}, 20, False, 32),  # nothing to see: the same
        ({1: 1, 2: 7}, 8, False, 1),  # two are too many already
        ({1: 1, 2: 2, 8: 8}, 20, True, 8),
    ],
)  # more was tried, and failed
def test_a_line_is_drawn_out_to_four_fifths_of_the_memory(peaks, memory, full, images):
    assert (
        _fitting(Measured({n: peak * GIB for n, peak in peaks.items()}, memory * GIB, full))
        == images
    )


@pytest.mark.parametrize(
    'images, unit, rounded',
    [(7, 1, 7), (9, 1, 8), (31, 1, 24), (31, 3, 24), (23, 3, 21), (1, 2, 2), (-3, 2, 2)],
)
def test_batches_are_multiples(images, unit, rounded):
    assert _rounded(images, unit) == rounded


@pytest.mark.slow
def test_a_real_batch_fits_and_few_pictures_make_it_smaller(caplog):
    """The step of the chosen batch is taken, in a process of its own."""
    config, memory = load_config('efficientdet-lite0', {**LITTLE, 'accumulation_steps': 2}), 3 * GIB
    images, text = largest_batch(config, memory)
    assert images % 16 == 0 and 'GiB of 3.0 GiB' in text
    step = [
        sys.executable,
        'tests/memory_of_a_step.py',
        'efficientdet-lite0',
        '64',
        str(images),
        'num_classes=2',
        'moving_average_decay=0.0',
        'accumulation_steps=2',
    ]
    peak = float(subprocess.run(step, capture_output=True, text=True, check=True).stdout.split()[1])
    assert 1.0 < peak < 3.0
    caplog.set_level('INFO')
    assert batch_for(config, examples=170) == {'batch_size': 16}
    assert ' fit, but 170 images should make at least 10 steps' in caplog.text


def test_what_went_wrong_in_the_other_process_is_told():
    with pytest.raises(
        ConfigError,
        match=r'efficientdet-lite0: a training step could not be measured: .*no_such_layer',
    ):
        measured(load_config('efficientdet-lite0', {**LITTLE, 'freeze': ('no_such_layer',)}))


def test_several_replicas_are_refused():
    with pytest.raises(
        ConfigError, match='measured for one device, found 2 replicas; give batch_size'
    ):
        batch_for(load_config(), 100, replicas=2)


def test_free_memory_is_that_of_this_machine():
    assert 2**27 < free_memory() < 2**46


def test_files_that_were_read_do_not_fill_a_container(tmp_path):
    assert free_in_group(tmp_path) == float('inf')
    (tmp_path / 'memory.max').write_text('max\n')
    assert free_in_group(tmp_path) == float('inf')
    (tmp_path / 'memory.max').write_text('4000\n')
    (tmp_path / 'memory.current').write_text('3900\n')
    (tmp_path / 'memory.stat').write_text(
        'anon 900\nfile 3000\nactive_file 1000\ninactive_file 1900\n'
    )
    assert free_in_group(tmp_path) == 3000
