"""Anchors and box codes against official arrays and against themselves."""

import numpy as np
import official
import pytest

from keras_efficientdet import anchors
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.ops.anchors import decode, encode, feature_sizes

CASES = [
    'sq256',
    'rect_tuple_hw_128x256',
    'pairs_scale3',
    'max8_256',
    'scale_list_192',
    'nondiv_100x150_tuple',
]


def of_config(c):
    return anchors(
        c['image_size'],
        levels=(c['min_level'], c['max_level']),
        scales=c['num_scales'],
        ratios=c['aspect_ratios'],
        scale=c['anchor_scale'],
    )


@pytest.mark.parametrize('case', CASES)
def test_official_anchors(case):
    entry, arrays = (
        official.index('func/anchors.npz')['cases'][case],
        official.golden('func/anchors.npz'),
    )
    ours = of_config(entry['config'])
    assert len(ours) == entry['n']
    rows = arrays[case] if case in arrays else arrays[f'{case}__rows']
    np.testing.assert_allclose(
        ours if case in arrays else ours[arrays[f'{case}__row_idx']], rows, atol=1e-4
    )


@pytest.mark.parametrize('size', [np.int64(96), np.array([96, 96]), (np.int32(96), 96)])
def test_sizes_of_numpy(size):
    np.testing.assert_array_equal(anchors(size), anchors(96))


def test_official_image_sizes():
    for entry in official.golden('func/image_size.json').values():
        if 'feat_sizes_max8' in entry:
            assert feature_sizes(tuple(entry['hw']), 8) == [
                tuple(s) for s in entry['feat_sizes_max8']
            ]


def test_official_decode():
    entry, arrays = official.index('func/box_decode.npz'), official.golden('func/box_decode.npz')
    boxes = of_config(entry['config'])
    codes = (
        np.random.Generator(np.random.PCG64(11)).standard_normal((2, len(boxes), 4))
        * [0.5, 0.5, 0.3, 0.3]
    ).astype(np.float32)
    np.testing.assert_allclose(decode(codes, boxes)[:, ::3], arrays['decoded'], atol=1e-3)


def test_decode_undoes_encode():
    rng = np.random.default_rng(0)
    anchor_boxes = anchors(128)
    corner, side = (
        rng.uniform(0, 90, (len(anchor_boxes), 2)),
        rng.uniform(1, 60, (len(anchor_boxes), 2)),
    )
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    np.testing.assert_allclose(decode(encode(boxes, anchor_boxes), anchor_boxes), boxes, atol=2e-3)


def test_a_box_equal_to_its_anchor_has_codes_of_exactly_zero():
    boxes = anchors((96, 160))
    assert np.all(encode(boxes, boxes).numpy() == 0)


def test_transposed_image_transposes_anchors():
    wide, tall = anchors((64, 96), ratios=(1.0,)), anchors((96, 64), ratios=(1.0,))
    key = [tuple(row) for row in np.round(wide, 3)]
    assert sorted(key) == sorted(tuple(row) for row in np.round(tall[:, [1, 0, 3, 2]], 3))


def test_ratio_is_width_over_height():
    box = anchors(128, ratios=(2.0,), scales=1)[0]
    assert (box[3] - box[1]) / (box[2] - box[0]) == pytest.approx(2.0)


def test_bad_sizes_and_scales():
    with pytest.raises(ConfigError, match='WIDTHxHEIGHT'):
        anchors('128x256')
    with pytest.raises(ValueError, match='5 for levels 3 to 7'):
        anchors(128, scale=[1, 2, 3])
