"""The train step through XLA: every layer has kernels there, and the losses are those without."""

import pytest
import tiny


def losses(**options):
    """Of two steps, in which every branch survives: XLA draws other masks."""
    model = tiny.network(tiny.load_config())
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.0
    return (
        tiny.compiled(model, **options)
        .fit(tiny.batches(1).repeat(2), epochs=2, steps_per_epoch=1, verbose=0)
        .history['loss']
    )


@pytest.mark.parametrize('options', [{}, {'recompute': True}], ids=lambda o: ''.join(o) or 'plain')
def test_losses_under_xla(options):
    assert losses(jit_compile=True, **options) == pytest.approx(losses(**options), rel=1e-4)
