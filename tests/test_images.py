"""Pictures to network inputs and boxes back, against the official preprocessing."""

import io

import numpy as np
import official
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet.ops import images

MEAN, STD = (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
INFER = 'func/preprocess_infer_a.npz'
DRAWN = (
    'small_64',
    'small_down_24',
    'small2_rect_40x64',
    'int_size_32',
)  # their pictures stand in the golden
PHOTO = ('img1_512', 'img1_384x640', 'img1_lite_320')
CASES = (*DRAWN, *PHOTO)


def case_of(name):
    case = official.index(INFER)['cases'][name]
    size = case['output_size']
    return case, (size, size) if isinstance(size, int) else tuple(size)


def random_picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize('name', DRAWN)
def test_prepare_is_the_official_one(name, golden):
    case, size = case_of(name)
    arrays = golden(INFER)
    prepared, scale_back = images.prepare(
        arrays[f'{name}/in'][None], size, case['mean'], case['std']
    )
    step = case['row_col_step']
    np.testing.assert_allclose(prepared[0, ::step, ::step], arrays[f'{name}/out'], atol=2e-4)
    np.testing.assert_allclose(scale_back, [case['image_scale_to_original']], rtol=1e-6)


@pytest.mark.parametrize('name', PHOTO)
def test_a_photo_is_prepared_as_officially(name, golden):
    case, size = case_of(name)
    step = case['row_col_step']
    prepared, _ = images.prepare(official.photo()[None], size, case['mean'], case['std'])
    expected = golden(INFER)[f'{name}/out']
    np.testing.assert_allclose(prepared[0, ::step, ::step], expected, atol=2e-4)


def test_large_images_are_normalised_after_they_are_resized():
    """Of 12 megapixels the network sees a hundredth, so nothing may compute with all of them."""
    large = tf.TensorSpec([1, 3000, 4000, 3], tf.uint8)
    function = tf.function(lambda x: images.prepare(x, (96, 128), MEAN, STD))
    graph = function.get_concrete_function(large).graph
    computing = {'Sub', 'RealDiv', 'Mul', 'Cast'}
    sizes = [
        tensor.shape.num_elements() or 0
        for op in graph.get_operations()
        if op.type in computing
        for tensor in op.outputs
    ]
    assert len(sizes) > 5 and max(sizes) <= 96 * 128 * 3


@pytest.mark.parametrize('name', CASES)
def test_sizes_are_the_official_ones(name, golden):
    golden(INFER)
    case, size = case_of(name)
    scale = images.fit_scale(case['in_shape'][:2], size)
    assert float(scale) == pytest.approx(case['image_scale'], rel=1e-6)
    assert images.scaled_size(case['in_shape'][:2], scale).numpy().tolist() == case['scaled_hw']


def test_golden_notices_other_resizing_and_swapped_channels(golden):
    case, size = case_of('small_down_24')
    arrays = golden(INFER)
    picture, expected = arrays['small_down_24/in'], arrays['small_down_24/out']
    height, width = case['scaled_hw']
    smoothed = tf.image.resize(
        images.normalize(picture, MEAN, STD), [height, width], antialias=True
    )
    assert np.max(np.abs(smoothed - expected[:height, :width])) > 0.1
    swapped, _ = images.prepare(picture[None, ..., ::-1], size, MEAN, STD)
    assert np.max(np.abs(swapped[0] - expected)) > 0.1


def test_padding_is_exactly_zero_at_bottom_and_right():
    for hw, inside in (((37, 100), (23, 64)), ((100, 37), (64, 23))):
        prepared, _ = images.prepare(np.full((2, *hw, 3), 255, np.uint8), (64, 64), MEAN, STD)
        outside = np.ones((64, 64), bool)
        outside[: inside[0], : inside[1]] = False
        assert np.all(prepared.numpy()[:, outside] == 0.0)
        assert np.all(prepared.numpy()[:, ~outside] > 2.0)


def test_batched_is_single():
    batch = np.stack([random_picture(50, 70, seed) for seed in range(3)])
    together, scales = images.prepare(batch, (64, 48), MEAN, STD)
    for i, picture in enumerate(batch):
        alone, scale = images.prepare(picture[None], (64, 48), MEAN, STD)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)
        assert float(scales[i]) == float(scale[0])


def test_a_picture_of_the_right_size_is_only_normalised():
    picture = random_picture(48, 64)
    prepared, scale = images.prepare(picture[None], (48, 64), MEAN, STD)
    np.testing.assert_allclose(prepared[0], (picture - np.array(MEAN)) / np.array(STD), atol=1e-5)
    assert float(scale[0]) == 1.0


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (200, 120)])
def test_undo_brings_boxes_back_to_the_pixels(size):
    picture = np.zeros((150, 90, 3), np.uint8)
    box = np.array([31, 22, 118, 71])
    picture[box[0] : box[2], box[1] : box[3]] = 255
    prepared, scale_back = images.prepare(
        picture[None], size, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
    )
    ys, xs = np.nonzero(prepared[0, ..., 0].numpy() > 0.5)
    found = np.array([[[ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]]], np.float32)
    assert float(scale_back[0]) != 1.0
    np.testing.assert_allclose(
        images.undo(found, scale_back)[0, 0], box, atol=1.5 * max(1.0, float(scale_back[0]))
    )


def test_undo_of_a_batch_uses_each_scale():
    found = images.undo(tf.ones([2, 3, 4]), tf.constant([2.0, 5.0]))
    np.testing.assert_array_equal(
        found, np.broadcast_to(np.reshape([2.0, 5.0], (2, 1, 1)), (2, 3, 4))
    )


def test_prepare_alone_is_prepare_inside_map():
    batch = random_picture(45, 33)[None]
    data = tf.data.Dataset.from_generator(
        lambda: [batch], output_signature=tf.TensorSpec([None, None, None, 3], tf.uint8)
    )
    prepared, scale = next(iter(data.map(lambda x: images.prepare(x, (64, 64), MEAN, STD))))
    alone, alone_scale = images.prepare(batch, (64, 64), MEAN, STD)
    np.testing.assert_allclose(prepared, alone, atol=1e-6)
    np.testing.assert_array_equal(scale, alone_scale)
    assert data.map(lambda x: images.prepare(x, (64, 64), MEAN, STD)).element_spec[0].shape[1:] == (
        64,
        64,
        3,
    )


@pytest.mark.parametrize('hw', [(2000, 2), (2, 2000)])
def test_a_very_thin_picture_keeps_a_pixel(hw):
    prepared, scale = images.prepare(
        np.full((1, *hw, 3), 255, np.uint8), (64, 64), (0.0,) * 3, (255.0,) * 3
    )
    assert float(scale[0]) == pytest.approx(2000 / 64)
    np.testing.assert_allclose(np.sum(prepared[0, ..., 0]), 64.0, rtol=1e-5)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize('kind', ['PNG', 'BMP'])
def test_decode_without_loss(kind):
    picture = random_picture(23, 31)
    np.testing.assert_array_equal(images.decode(encoded(Image.fromarray(picture), kind)), picture)


def test_decode_gray_and_the_first_frame_of_a_gif():
    gray = random_picture(9, 12)[..., 0]
    np.testing.assert_array_equal(
        images.decode(encoded(Image.fromarray(gray), 'PNG')), np.repeat(gray[..., None], 3, 2)
    )
    frames = [Image.new('P', (8, 6), i) for i in (3, 9)]
    for frame in frames:
        frame.putpalette([v for i in range(256) for v in (i, 255 - i, 7)])
    found = images.decode(encoded(frames[0], 'GIF', save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(
        found, np.broadcast_to(np.array([3, 252, 7], np.uint8), (6, 8, 3))
    )


def test_decode_jpeg_is_near_pillow():
    coarse = Image.fromarray(64 + random_picture(6, 8) // 2).resize((64, 48), Image.BICUBIC)
    data = encoded(coarse, 'JPEG', quality=95, subsampling=0)
    pillow = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    np.testing.assert_allclose(images.decode(data).numpy().astype(int), pillow, atol=5)


def test_decode_of_what_is_no_picture():
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode(b'not a picture at all')


@pytest.mark.parametrize('shape', [(50, 120), (120, 50), (96, 128), (300, 400)])
def test_letterbox_is_prepare_in_uint8(shape):
    mean, stddev = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found, scale = images.letterbox(picture, (96, 128), mean)
    expected, scales = images.prepare(picture[None], (96, 128), mean, stddev)
    assert found.dtype == np.uint8 and scale == pytest.approx(float(scales[0]))
    np.testing.assert_allclose(images.normalize(found, mean, stddev), expected[0], atol=0.51 / 57)


@pytest.mark.parametrize('shape', [(90, 160, 3), (300, 120, 3), (64, 64, 3)])
def test_the_middle_is_cropped_as_for_classifiers(shape):
    """Official crop: size / (size + 32) of the shorter side, in the middle, then resized."""
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    smooth = np.asarray(Image.fromarray(picture).resize((8, 8)).resize(shape[1::-1], 2))
    prepared, scale_back = images.prepare(smooth[None], (64, 64), MEAN, STD, 'crop')
    side = 64 / 96 * min(shape[:2])
    top, left = (shape[0] - side) / 2, (shape[1] - side) / 2
    centres = (np.arange(64) + 0.5) * side / 64 - 0.5
    y, x = np.clip(top + centres, 0, shape[0] - 1), np.clip(left + centres, 0, shape[1] - 1)
    wanted = bilinear_at(images.normalize(smooth, MEAN, STD).numpy(), y, x)
    # The official crop begins at a whole pixel of the image, this one at a whole one of the result.
    assert np.mean(np.abs(prepared[0] - wanted)) < 0.05 * np.std(wanted)
    whole = images.undo(tf.constant([[[0.0, 0.0, 64.0, 64.0]]]), scale_back, np.array([shape[:2]]))
    np.testing.assert_array_equal(whole[0, 0], [0, 0, *shape[:2]])
    cut, scale = images.letterbox(smooth, (64, 64), MEAN, 'crop')
    assert scale == pytest.approx(float(scale_back[0]))
    np.testing.assert_allclose(images.normalize(cut, MEAN, STD), prepared[0], atol=0.51 / min(STD))


def bilinear_at(image, y, x):
    """Values [len(y), len(x), 3] of an image between its pixels."""
    y0, x0 = np.minimum(y.astype(int), len(image) - 2), np.minimum(x.astype(int), len(image[0]) - 2)
    dy, dx = (y - y0)[:, None, None], (x - x0)[None, :, None]
    rows = [(1 - dx) * image[k][:, x0] + dx * image[k][:, x0 + 1] for k in (y0, y0 + 1)]
    return (1 - dy) * rows[0] + dy * rows[1]
