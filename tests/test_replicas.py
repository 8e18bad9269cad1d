"""One device, two devices and two processes give the same numbers (replicated.py, in processes of
its own)."""

import numpy as np
import processes
import pytest
import replicated
import tensorflow as tf
import tiny

from keras_efficientdet.keras_compat import KERAS_3

# Relative. Noise of 1e-7 in the images of one device makes as much: 1e-7 in the losses, 2e-5 in
# biases that hardly move.
LOSS, MEDIAN, WORST = 1e-6, 2e-6, 1e-4
NAMES = 'mirrored', 'workers0', 'workers1'


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    """{name: path} of what two replicas in one process and two workers have written."""
    folder = tmp_path_factory.mktemp('replicas')
    return {
        **processes.run('replicated.py', 'mirrored', folder / 'mirrored'),
        **processes.run('replicated.py', 'multi_worker', folder / 'workers'),
    }


@pytest.fixture(scope='module')
def one():
    return replicated.train(tf.distribute.get_strategy())


def arrays(path):
    return dict(np.load(f'{path}.npz'))


def assert_equal(found, wanted):
    """`pytest -s` prints the figures of docs/TRAINING.md."""
    losses = np.max(np.abs(found['losses'] / wanted['losses'] - 1.0), 1)
    print('losses, step by step:', *(f'{d:.0e}' for d in losses))
    np.testing.assert_allclose(found['losses'], wanted['losses'], rtol=LOSS)
    differences = {
        n: tiny.difference({n: found[n]}, {n: wanted[n]}) for n in wanted if n != 'losses'
    }
    median, worst = np.median([*differences.values()]), max(differences.values())
    print(f'the rest: median {median:.1e}, worst {worst:.1e}')
    assert worst < WORST, differences
    assert median < MEDIAN, differences


@pytest.mark.parametrize('what', ['outputs', 'inputs', 'gamma', 'beta', 'mean', 'variance'])
def test_batch_norm_over_uneven_replicas_is_the_fused_kernel(several, what):
    """Values and gradients, of features whose mean is sixty times their deviation."""
    found = np.load(f'{several["mirrored"]}-norm.npz')[what]
    wanted = np.asarray(replicated.normalized(tf.distribute.get_strategy(), (8,))[what])
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.max(np.abs(wanted)))


@pytest.mark.parametrize('name', NAMES)
def test_ten_steps_are_those_of_one_device(several, one, name):
    """Losses of each step; weights, batch-norm statistics and averages after the last."""
    found = arrays(several[name])
    assert found['losses'].shape == (10, 3)
    assert_equal(found, one)
    assert sum(n.startswith('average') for n in found) > 20


def test_what_cannot_work_over_replicas_is_refused(several):
    said = several['mirrored'].with_name('mirrored.txt').read_text()
    assert 'train.batch_size 5 is not a multiple of the 2 replicas' in said
    assert ('steps_per_execution=2 with several replicas fails on Keras 3' in said) == KERAS_3


def test_accumulation_on_each_replica_is_the_whole_batch(several):
    """Two parts of two images on each of two replicas; batch norm frozen, since it sees a part at
    a time."""
    found = arrays(f'{several["mirrored"]}-parts')
    wanted = replicated.train(tf.distribute.get_strategy(), trains=False)
    assert_equal(found, wanted)


def test_each_of_two_heads_counts_what_all_replicas_have(several):
    found = np.load(f'{several["mirrored"]}-heads.npz')
    for name, weight in {'classes': 1 / 3, 'boxes': 1 / 3, 'segmentation': 1 / 40}.items():
        np.testing.assert_allclose(found[name], [weight, weight], rtol=1e-6)
