import pytest

from keras_efficientdet import ConfigError, load_config
from keras_efficientdet.training.recipes import RECIPES, explain, recipe


def config(batch=8):
    return load_config('efficientdet-lite0', {'train.batch_size': batch})


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('images', [5, 205, 5717, 118287])
@pytest.mark.parametrize('batch', [1, 8, 64])
def test_every_choice_is_a_valid_setting_with_a_reason(name, images, batch):
    chosen, reasons = recipe(name, config(batch), images)
    applied = load_config(config(batch), chosen)
    assert chosen.keys() == reasons.keys() and all(reasons.values())
    train = applied.train
    steps = train.num_epochs * max(1, images // batch)
    assert (
        0
        <= train.lr_warmup_epoch * max(1, images // batch)
        <= max(steps / 10, max(1, images // batch)) + 1
    )
    assert train.lr_warmup_init < train.learning_rate * batch / 64


def test_small_trains_a_thousand_steps_at_a_rate_for_its_batch():
    chosen, _ = recipe('small', config(8), 205)
    assert chosen['num_epochs'] == 40 and chosen['optimizer'] == 'adam'
    assert chosen['learning_rate'] * 8 / 64 == pytest.approx(0.002)
    larger, _ = recipe('small', config(32), 205)
    assert larger['learning_rate'] * 32 / 64 == pytest.approx(0.004)
    assert larger['num_epochs'] == 167


def test_scratch_is_the_official_schedule():
    chosen, _ = recipe('scratch', config(64), 118287)
    official = load_config('efficientdet-lite0').train
    assert {key: getattr(official, key) for key in chosen if key != 'lr_decay_method'} == {
        key: value for key, value in chosen.items() if key != 'lr_decay_method'
    }


def test_the_average_covers_the_last_tenth():
    assert recipe('small', config(8), 205)[0]['moving_average_decay'] == pytest.approx(0.99)


def test_few_pictures_freeze_a_backbone_that_knows_many():
    assert recipe('finetune', config(), 300)[0]['freeze'] == ('^efficientnet-lite0/',)
    assert 'freeze' not in recipe('finetune', config(), 5717)[0]


def test_a_batch_of_two_keeps_the_statistics_of_the_backbone():
    assert recipe('small', config(2), 205)[0]['freeze'] == (
        '^efficientnet-lite0/.*batch_normalization',
    )


def test_what_the_user_sets_is_named():
    chosen, reasons = recipe('small', config(), 205)
    lines = explain(chosen, reasons, load_config(config(), [chosen, 'num_epochs=3'])).splitlines()
    assert len(lines) == len(chosen)
    assert 'yours: 3' in next(line for line in lines if 'num_epochs' in line)
    assert not any('yours' in line for line in lines if 'num_epochs' not in line)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(ConfigError, match='finetune, scratch, small'):
        recipe('tiny', config(), 10)
