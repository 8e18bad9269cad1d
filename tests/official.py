"""How the official outputs of the goldens were made (seeded weights, inputs), and comparisons."""

import functools
import json
import math
import os
import pathlib
import zlib

import numpy as np
import pytest
from PIL import Image

SHARED = pathlib.Path(
    os.environ.get(
        'KERAS_EFFICIENTDET_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'
    )
)
GOLDEN = SHARED / 'golden'
DATA = SHARED / 'data'
SLICES = pathlib.Path(__file__).parent / 'goldens'
EMA = '/ExponentialMovingAverage'


def bug_input(name):
    """A folder of inputs as people have them. Skips the test where it is not there."""
    folder = SHARED / 'bug_inputs' / name
    if not folder.exists():
        pytest.skip(f'{folder} is not there')
    return folder


@functools.cache
def photo():
    """The photo that official outputs were recorded on, uint8 [636, 1024, 3]. Skips without it."""
    path = DATA / 'official_img1' / 'img1.jpg'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    return np.asarray(Image.open(path).convert('RGB'))


def index(name):
    """What golden/index.json says of one file."""
    return index_of_files()[name]


def index_of_files():
    """{file: entry} of golden/index.json, and of the index of the classifiers."""
    classifiers = json.loads(path('classifier/index.json').read_text())
    counts = {'classifier/trainable_parameters.json': {}}
    return {
        **json.loads(path('index.json').read_text())['files'],
        **{f'classifier/{name}.npz': entry for name, entry in classifiers.items()},
        **counts,
    }


def path(name):
    """Path of a golden: in the full set, else its committed slice; None if neither has it."""
    return next((p for p in (GOLDEN / name, SLICES / name) if p.is_file()), None)


def golden(name):
    """The content of a golden file, or None where it is not here."""
    found = path(name)
    if found is None:
        return None
    return np.load(found) if found.suffix == '.npz' else json.loads(found.read_text())


def seeded_weight(name, shape, fpn_gain=1.0, project_gain=1.0):
    """Value of an official variable in the goldens: float32, drawn from its name's CRC-32."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    plain = name.removesuffix(EMA)
    kind = plain.rpartition('/')[2]
    if kind.startswith('WSM') or kind == 'moving_variance':
        uniform = np.round(rng.random(shape) * 64) / 64
        return (0.5 + uniform if kind.startswith('WSM') else 0.8 + 0.4 * uniform).astype(np.float32)
    normal = np.round(rng.standard_normal(shape) * 8) / 8
    if kind == 'depthwise_kernel':
        return (normal * math.sqrt(2 / (shape[0] * shape[1]))).astype(np.float32)
    if kind == 'kernel' and len(shape) == 2:  # of a dense layer
        return (normal * math.sqrt(2 / shape[0])).astype(np.float32)
    if kind in ('kernel', 'pointwise_kernel'):
        value = normal * math.sqrt(2 / (shape[0] * shape[1] * shape[2]))
        value = value * (
            fpn_gain if plain.startswith('fpn_cells/') and '/op_after_combine' in plain else 1.0
        )
        shrinks = (
            kind == 'kernel'
            and plain.startswith('efficientnet')
            and '/blocks_' in plain
            and '/se/' not in plain
        )
        return (value * (project_gain if shrinks and shape[2] > shape[3] else 1.0)).astype(
            np.float32
        )
    return ({'bias': 0.05 * normal, 'gamma': 1 + 0.1 * normal}.get(kind, 0.1 * normal)).astype(
        np.float32
    )


def seeded_weights(shapes, rule):
    """{name: array} for {name: shape} by the rule of a golden."""
    weights = {
        name: seeded_weight(name, shape, rule['fpn_gain'], rule['project_gain'])
        for name, shape in shapes.items()
    }
    for name, value in (rule.get('wsm_overrides') or {}).items():
        weights[name] = (
            np.float32(value) if not np.ndim(weights[name]) else weights[name] - np.float32(1.0)
        )
    return weights


def make_input(n, height, width, seed):
    """float32 [n, height, width, 3]: blocks of 32 pixels and noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.standard_normal((n, -(-height // 32), -(-width // 32), 3))
    fine = rng.standard_normal((n, height, width, 3))
    return (np.repeat(np.repeat(coarse, 32, 1), 32, 2)[:, :height, :width] + 0.5 * fine).astype(
        np.float32
    )


def rule_input(rule):
    """The input of a rule: 'make_input(n=1,h=256,w=256,seed=0)' or 'make_input(1,256,256,0)'."""
    text = rule['input'].partition('(')[2].partition(')')[0]
    return make_input(*(int(part.rpartition('=')[2]) for part in text.split(',')))


def worst_difference(outputs, arrays, stats, model):
    """Largest |ours - official| / std over every recorded tensor of a forward golden.

    outputs: {'classes': [B, A, K], 'boxes': [B, A, 4]} of our model; they are split into the
    official tensors of each level.
    """
    worst, start = {}, 0
    per_place = model.num_scales * len(model.aspect_ratios)
    for level in range(model.min_level, model.max_level + 1):
        shape = stats[f'cls_{level}']['shape']
        rows = shape[1] * shape[2] * per_place
        for key, output in (('cls', 'classes'), ('box', 'boxes')):
            ours = np.asarray(outputs[output])[:, start : start + rows].reshape(-1)
            worst[f'{key}_{level}'] = difference(ours, arrays, f'{key}_{level}', stats)
        start += rows
    assert start == np.shape(outputs['classes'])[1]
    return worst


def difference(ours, arrays, key, stats):
    """Largest |ours - official| / std of one recorded tensor, ours flat."""
    official = arrays[key].reshape(-1) if key in arrays else arrays[f'{key}__val']
    ours = ours if key in arrays else ours[arrays[f'{key}__idx']]
    return float(np.max(np.abs(ours - official)) / stats[key]['std'])
