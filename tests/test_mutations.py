"""The mutations fit the code; three are tried each time, all of them by `make mutations`."""

import pytest
from mutations import MUTATIONS, ROOT, broken, noticed


@pytest.mark.parametrize('mutation', MUTATIONS, ids=[m.name for m in MUTATIONS])
def test_every_mutation_has_its_place_and_its_tests(mutation):
    text = (ROOT / 'keras_efficientdet' / mutation.file).read_text()
    assert broken(text, mutation) != text
    assert (ROOT / 'tests' / mutation.tests.partition(' ')[0]).is_file()


@pytest.mark.parametrize(
    'name', ['focal gamma of 2', 'cosine shifted by the warm-up', 'an area with +1']
)
def test_a_few_are_noticed(name):
    (mutation,) = (m for m in MUTATIONS if m.name == name)
    assert noticed(mutation)


def test_an_unbroken_copy_passes():
    assert not noticed(MUTATIONS[0]._replace(new=MUTATIONS[0].old, tests='test_losses.py'))


@pytest.mark.slow
@pytest.mark.parametrize('mutation', MUTATIONS, ids=[m.name for m in MUTATIONS])
def test_all_are_noticed(mutation):
    assert noticed(mutation)
