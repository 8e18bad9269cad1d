"""Cuts the committed goldens out of the full set.

Run: python tests/goldens/make_slices.py ../shared/golden

Outputs of functions are kept whole; of forward passes, 256 numbers of each tensor, for the networks
below; of the ImageNet backbone, checksums. Weights are never kept.
"""

import json
import pathlib
import shutil
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
SAMPLES = 256
WHOLE = ('func/*', 'e2e/*', 'data/*')
CLASSIFIER = ('*.npz', 'trainable_parameters.json')  # has an index of its own
FORWARD = (
    'd0_256',
    'd0_600_nondiv128',
    'd0_384x640',
    'lite0_320',
    'd0_128_channel_fastattn',
    'd0_128_training_true',
    'd0_128_sum',
)
NAMES = ('efficientdet-d0', 'efficientdet-lite0')


def main(source):
    index = json.loads((source / 'index.json').read_text())
    kept = [p.relative_to(source) for pattern in WHOLE for p in source.glob(pattern)]
    for path in kept:
        (HERE / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / path, HERE / path)
    for name in FORWARD:
        kept.append(pathlib.Path('forward', f'{name}.npz'))
        (HERE / 'forward').mkdir(exist_ok=True)
        np.savez_compressed(HERE / kept[-1], **sampled(np.load(source / kept[-1])))
    for name in NAMES:
        kept.append(pathlib.Path('names', f'{name}.json'))
        (HERE / 'names').mkdir(exist_ok=True)
        content = json.loads((source / kept[-1]).read_text())
        slim = {k: content[k] for k in ('keras', 'params_total', 'params_trainable')}
        (HERE / kept[-1]).write_text(json.dumps(slim, separators=(',', ':')))
    copy_classifier(source / 'classifier', HERE / 'classifier')
    sums = json.loads((source.parent / 'reference/imagenet_lite_crc32.json').read_text())[
        'efficientnet-lite0'
    ]
    (HERE / 'lite0_crc32.json').write_text(json.dumps(sums, separators=(',', ':')))
    files = {
        str(k): {
            a: b
            for a, b in index['files'][str(k)].items()
            if a not in ('arrays', 'bytes', 'sha256')
        }
        for k in kept
    }
    (HERE / 'index.json').write_text(json.dumps({'files': files}, indent=0))


def copy_classifier(source, target):
    target.mkdir(exist_ok=True)
    for path in (p for pattern in CLASSIFIER for p in source.glob(pattern)):
        shutil.copyfile(path, target / path.name)
    index = json.loads((source / 'index.json').read_text())
    (target / 'index.json').write_text(json.dumps(index, separators=(',', ':')))


def sampled(arrays):
    """Each tensor as positions and values, at most SAMPLES of them, spread evenly."""
    result = {}
    for key in arrays:
        if key.endswith('__val'):
            continue
        name = key.removesuffix('__idx')
        positions = (
            arrays[key] if key.endswith('__idx') else np.arange(arrays[key].size, dtype=np.int32)
        )
        values = arrays[f'{name}__val'] if key.endswith('__idx') else arrays[key].reshape(-1)
        rows = np.unique(np.linspace(0, len(positions) - 1, SAMPLES).astype(int))
        result[f'{name}__idx'], result[f'{name}__val'] = positions[rows], values[rows]
    return result


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
