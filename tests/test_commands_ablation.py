"""The command that compares variants of a model."""

import csv
import json
import math

import drawn
import pytest
from little import TINY

from keras_efficientdet.commands.ablation import VARIANTS, Row, table
from keras_efficientdet.config import load_config
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.flops import flops


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ablation')
    return drawn.records(folder, [drawn.three_objects(i) for i in range(8)], noise=15.0)


def settings():
    return [f'{key}={value}' for key, value in TINY.items() if key != 'num_epochs']


def test_variants_are_trained_and_compared(inside, records, tmp_path, capsys):
    run = [
        *('ablation', '--train', records, '--valid', records, '--workdir', tmp_path / 'runs'),
        *('--steps=2', '--json', '--variant=wide fpn_num_filters=24 fpn_name=fpn'),
        *('--variant=narrow fpn_num_filters=8', *settings()),
    ]
    assert inside(*run) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row['variant'] for row in rows] == ['wide', 'narrow']
    for row in rows:
        config = load_config(tmp_path / 'runs' / row['variant'] / 'config.yaml')
        model = efficientdet(config)
        assert config.model.fpn_num_filters == {'wide': 24, 'narrow': 8}[row['variant']]
        assert row['parameters'] == sum(math.prod(v.shape) for v in model.trainable_weights)
        assert row['gflops'] == flops(model) / 1e9
        assert row['steps'] == 2 and config.train.num_epochs == 1
        assert 0 <= row['AP'] <= row['AP50'] <= 1
        assert 0 < row['latency_min_ms'] <= row['latency_ms']
    with open(tmp_path / 'runs' / 'ablation.csv', newline='', encoding='utf-8') as file:
        assert [row['variant'] for row in csv.DictReader(file)] == ['wide', 'narrow']
    weights = tmp_path / 'runs' / 'wide' / 'best.weights.h5'
    before = weights.stat().st_mtime_ns
    assert inside(*run) == 0
    assert weights.stat().st_mtime_ns == before  # a training that has ended is read


@pytest.mark.parametrize('variant', ['fpn_name=fpn', 'two words', ''])
def test_a_variant_without_name_or_settings_is_refused(inside, records, tmp_path, variant):
    with pytest.raises(ValueError, match='expected a name, then key=value words'):
        inside(
            *('ablation', '--train', records, '--workdir', tmp_path / 'runs'),
            f'--variant={variant}',
        )


def test_variants_of_the_paper_are_configurations():
    for given in VARIANTS.values():
        load_config('efficientdet-lite0', list(given))


def test_table():
    text = table([Row('fpn', 3_240_000, 0.98, 12.34, 11.0, 0.41, 0.8, 300)])
    assert text.splitlines()[-1] == (
        '| fpn | 3.24 M | 0.98 | 12.3 ms (11.0) | 0.410 | 0.800 | 300 |'
    )
