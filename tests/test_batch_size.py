"""The largest batch: a line through what was measured, and real steps in a process of their own."""
import pytest
import tensorflow as tf

from keras_efficientdet import load_config
from keras_efficientdet.config import ConfigError
from keras_efficientdet.training.batch_size import _drawn_out, fill_memory, largest_batch, peak_memory

GIB = 2 ** 30


@pytest.mark.parametrize('found, unit, images', [
    ([(1, 2, 10), (2, 3, 10)], 1, 7),                      # 3 GiB, and 1 for each image more: 8 of 10 are reached by 7
    ([(1, 9, 9), (2, 3, 20), (8, 6, 20)], 1, 24),          # the last two count: 8 + (16 - 6) / 0.5 = 28, and a multiple of 8
    ([(3, 2, 10), (6, 4, 10)], 3, 12),                     # unit 3: 6 + 4 / (2 / 3)
    ([(1, 7, 8), (2, 9, 8)], 1, 1),                        # 2 are too many already
    ([(2, 7, 8), (4, 9, 8)], 2, 2)])
def test_a_line_is_drawn_out_to_four_fifths_of_the_memory(found, unit, images):
    assert _drawn_out([(n, peak * GIB, memory * GIB) for n, peak, memory in found], unit)[0] == images


def test_real_steps_are_measured():
    config = load_config('efficientdet-lite0', {'image_size': 64, 'num_classes': 2, 'accumulation_steps': 2,
                                                'moving_average_decay': 0.})
    images, measured = largest_batch(config, memory=3 * GIB)
    assert images >= 8 and images % 2 == 0 and '4 images take' in measured and '2.4 GiB of 3.0 GiB' in measured


def test_what_went_wrong_in_the_other_process_is_told():
    config = load_config('efficientdet-lite0', {'image_size': 64, 'freeze': ('no_such_layer',)})
    with pytest.raises(ConfigError, match=r'efficientdet-lite0: not one step could be measured \(.*no_such_layer'):
        largest_batch(config)


def test_the_peak_grows_with_what_is_held():
    before = peak_memory()
    held = tf.ones([before // 4 + 2 ** 26])
    assert peak_memory() >= before + 2 ** 27 and float(held[0]) == 1.


def test_strategies_that_cannot_be_measured_are_refused():
    strategy = tf.distribute.MultiWorkerMirroredStrategy.__new__(tf.distribute.MultiWorkerMirroredStrategy)
    with pytest.raises(ConfigError, match='not on a TPU or over several workers; give batch_size'):
        fill_memory(load_config(), strategy)
