"""A batch in parts is the whole batch: weights, averages and logs."""
import pytest
import tiny

from keras_efficientdet.config import ConfigError

TOLERANCE = 1e-5      # of float32 sums in another order, after three steps


@pytest.fixture(scope='module')
def whole():
    model = tiny.compiled(trains=False)
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.             # the parts draw masks of their own
    logs = model.fit(tiny.batches(3), verbose=0).history
    return tiny.values(model), logs


@pytest.mark.parametrize('options', [{'accumulation_steps': 4}, {'accumulation_steps': 2, 'recompute': True}])
def test_parts_are_the_whole_batch(whole, options):
    values, logs = whole
    model = tiny.network(tiny.load_config())
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.
    found = tiny.compiled(model, trains=False, **options).fit(tiny.batches(3), verbose=0).history
    assert tiny.difference(tiny.values(model), values) < TOLERANCE
    assert {name: found[name] for name in logs} == {name: pytest.approx(value, rel=1e-5) for name, value in logs.items()}
    assert set(found) == set(logs) >= {'loss', 'classes_loss', 'boxes_loss'}
    assert int(model.optimizer.iterations) == 3


def test_batches_that_cannot_be_cut_are_refused():
    with pytest.raises(ConfigError, match='batch_size 8 cannot be cut into accumulation_steps 3 equal parts'):
        tiny.compiled(accumulation_steps=3)
