"""The list of released weights, and the cache they are found in."""

import shutil
import tarfile

import keras
import numpy as np
import official
import pytest
import yaml

from keras_efficientdet import (
    CheckpointError,
    efficientdet,
    load_config,
    load_official,
    model_names,
)
from keras_efficientdet.weights import released
from keras_efficientdet.weights.released import released_checkpoint, released_config, released_sets


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'keras'))
    return tmp_path / 'keras' / 'efficientdet'


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The function path -> a table in which D0's COCO weights lie at that path of this machine."""

    def serve(path):
        table = {
            'coco': {
                'efficientdet-d0': {
                    'url': f'file://{path}',
                    'format': 'tf1',
                    'overrides': {},
                    'val_ap': 34.3,
                    'sources': [],
                }
            }
        }
        (tmp_path / 'table.yaml').write_text(yaml.safe_dump(table))
        monkeypatch.setattr(released, 'TABLE', tmp_path / 'table.yaml')

    return serve


def test_the_list_is_whole():
    sets = released_sets()
    assert {name: len(models) for name, models in sets.items()} == {
        'coco': 15,
        'coco640': 5,
        'advprop': 6,
    }
    assert sorted(sets['coco']) == model_names('efficientdet')
    entries = [entry for models in sets.values() for entry in models.values()]
    assert len({entry.url for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.url.startswith(
            'https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/'
        )
        assert (
            entry.url.endswith(('.tar.gz', '.tgz')) and entry.model in entry.url and entry.sources
        )
        assert load_config(entry.model, entry.overrides).model.name == entry.model
    assert {m: e.val_ap for m, e in sets['coco'].items()} == {
        m: load_config(m).expected.val_ap for m in model_names('efficientdet')
    }


def test_what_weights_expect_goes_into_the_configuration():
    advprop = released_config(load_config('efficientdet-d0'), 'advprop').model
    black, white = ((value - np.array(advprop.mean_rgb)) / advprop.stddev_rgb for value in (0, 255))
    assert (black == -1).all() and (white == 1).all()
    assert released_config(load_config('efficientdet-d2'), 'coco640').model.image_size == (640, 640)
    by_hand = load_config('efficientdet-d2', {'image_size': [256, 384]})
    assert released_config(by_hand, 'coco640').model.image_size == (256, 384)
    assert released_config(by_hand, 'coco') == by_hand


@pytest.mark.parametrize('unpacked', [False, True])
def test_weights_placed_by_hand_are_found(cache, golden_file, unpacked):
    archive = golden_file('ckpt/efficientdet-d0.tf1.tar.xz')
    (cache / 'coco').mkdir(parents=True)
    if unpacked:
        with tarfile.open(archive) as tar:
            tar.extractall(cache / 'coco')
    else:
        shutil.copy(archive, cache / 'coco' / 'efficientdet-d0.tar.gz')
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 256}), weights='coco')
    name = 'forward/d0_256_ckpt_ema.npz'
    differences = official.worst_difference(
        model(official.make_input(1, 256, 256, 0)),
        official.golden(name),
        official.index(name)['stats'],
        model.detection_config.model,
    )
    assert max(differences.values()) < 1e-3, differences


def test_the_sets_do_not_share_files(cache):
    (cache / 'coco').mkdir(parents=True)
    (cache / 'advprop').mkdir(parents=True)
    for weights in ('coco', 'advprop'):
        (cache / weights / 'efficientdet-d0.tar.gz').touch()
    assert released_checkpoint('efficientdet-d0', 'coco') != released_checkpoint(
        'efficientdet-d0', 'advprop'
    )


def test_weights_are_fetched_once(cache, served, tmp_path, small_model):
    there = tmp_path / 'efficientdet-d0.tar.gz'
    with tarfile.open(there, 'w:gz') as tar:
        tar.add(__file__, 'efficientdet-d0/readme')
    served(there)
    found = released_checkpoint('efficientdet-d0')
    assert (
        found == cache / 'coco' / 'efficientdet-d0.tar.gz'
        and found.read_bytes() == there.read_bytes()
    )
    there.unlink()
    assert released_checkpoint('efficientdet-d0') == found
    with pytest.raises(CheckpointError, match=r'efficientdet-d0\.tar\.gz: expected one checkpoint'):
        load_official(small_model, found)


def test_two_that_fetch_at_once_do_not_write_one_file(cache, served, tmp_path, monkeypatch):
    served(tmp_path / 'efficientdet-d0.tar.gz')
    named = []

    def fetch(name, *_, **__):
        named.append(name)
        raise OSError

    monkeypatch.setattr(keras.utils, 'get_file', fetch)
    for _ in range(2):
        with pytest.raises(CheckpointError):
            released_checkpoint('efficientdet-d0')
    assert len(set(named)) == 2 and all(
        name.startswith('efficientdet-d0.tar.gz.fetching-') for name in named
    )


def test_offline_says_what_to_get_and_where_to_put_it(cache, served, tmp_path):
    served(tmp_path / 'nowhere' / 'efficientdet-d0.tar.gz')
    with pytest.raises(CheckpointError) as caught:
        efficientdet('efficientdet-d0', weights='coco')
    for word in (
        f'Download file://{tmp_path}/nowhere/efficientdet-d0.tar.gz',
        f'{cache}/coco/efficientdet-d0.tar.gz',
        f'unpacked here: {cache}/coco/efficientdet-d0',
    ):
        assert word in str(caught.value)
    assert not list((cache / 'coco').iterdir())


def test_weights_that_were_never_released():
    with pytest.raises(
        CheckpointError, match=r"no weights 'advprop' .*'efficientdet-lite0'; .*\['coco'\]"
    ):
        efficientdet('efficientdet-lite0', weights='advprop')
