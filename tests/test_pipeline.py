"""The input pipeline against the official one, and its promises.

Every example comes once, the length is known, and the same seed gives the same batches.
"""

import drawn
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import DataError, dataset, load_config
from keras_efficientdet.data.pipeline import (
    augmented,
    steps_in_epoch,
    training_stream,
    validation_dataset,
)
from keras_efficientdet.network.heads.anchor import config_anchors
from keras_efficientdet.ops.anchors import decode

RECORDS = 'data/coco_open-00000-of-00001.tfrecord'
READERS = {
    name: f'data/input_reader_open_{name}.npz' for name in ('eval', 'eval_rect_lite', 'train_noaug')
}
UNCHANGED = {'input_rand_hflip': False, 'jitter_min': 1.0, 'jitter_max': 1.0}
LEVELS = range(3, 8)


def reader_config(name, **change):
    """The Config of an official reader's golden: 90 classes, ids 1 to 90."""
    over = dict(official.index(READERS[name])['params_over'])
    for key in ('mean_rgb', 'stddev_rgb'):
        if key in over:
            over[key] = [over[key]] * 3
    return load_config('efficientdet-d0', [over, change])


def official_targets(arrays):
    """Official per-level targets [B, h, w, 9], [B, h, w, 36] as classes [B, A], boxes [B, A, 4]."""
    classes = [arrays[f'cls_targets_{level}'] for level in LEVELS]
    batch, boxes = len(classes[0]), []
    for level, c in zip(LEVELS, classes, strict=True):
        rows = np.zeros((batch, c[0].size, 4), np.float32)
        if f'box_targets_{level}' in arrays:
            rows[:] = arrays[f'box_targets_{level}'].reshape(rows.shape)
        else:
            rows[tuple(arrays[f'box_targets_{level}_nonzero_idx'])] = arrays[
                f'box_targets_{level}_nonzero'
            ]
        boxes.append(rows)
    return np.concatenate([c.reshape(batch, -1) for c in classes], 1), np.concatenate(boxes, 1)


def in_order(arrays):
    """Rows of a golden in the order of the record file."""
    return np.argsort(arrays['source_ids'])


def same_targets(targets, weights, arrays, rows=slice(None)):
    classes, boxes = (v[rows] for v in official_targets(arrays))
    np.testing.assert_array_equal(targets['classes'], classes)
    np.testing.assert_allclose(targets['boxes'], boxes, atol=1e-4)
    positives = arrays['mean_num_positives'].sum()
    for weight in weights.values():
        np.testing.assert_allclose(weight, [1 / (1 + positives)] * len(classes), rtol=1e-5)


def like_official(batch, arrays):
    """Rows of our shuffled training batch in the golden's order, found by their pictures."""
    golden = arrays['images_step4']
    ours = batch.numpy()[:, ::4, ::4]
    return [int(np.argmin([np.mean(np.abs(row - wanted)) for row in ours])) for wanted in golden]


@pytest.mark.parametrize('name', ['eval', 'eval_rect_lite'])
def test_evaluation_batch_is_the_official_one(name, golden, golden_file):
    arrays, config = golden(READERS[name]), reader_config(name)
    ((images, labels),) = dataset(golden_file(RECORDS), config, training=False)
    np.testing.assert_allclose(images[:, ::4, ::4], arrays['images_step4'], atol=2e-4)
    np.testing.assert_allclose(labels['scale'], arrays['image_scales'], rtol=1e-6)
    np.testing.assert_array_equal(labels['id'], arrays['source_ids'].astype(int))
    truth = arrays['groundtruth_data'][:, : labels['classes'].shape[1]]
    valid = truth[..., 6] > 0
    np.testing.assert_array_equal(labels['classes'], np.where(valid, truth[..., 6] - 1, -1))
    np.testing.assert_array_equal(labels['crowd'].numpy()[valid], truth[..., 4][valid])
    np.testing.assert_allclose(labels['area'].numpy()[valid], truth[..., 5][valid])
    most = labels['boxes'].shape[1]
    assert most == max(valid.sum(1)) and arrays['groundtruth_data'][:, most:, 6].max() == -1
    # Official boxes went through pixels of the network's input and were clipped there, which moves
    # them by up to one of these pixels.
    assert (
        np.max(
            np.abs(labels['boxes'].numpy() - truth[..., :4])[valid] / arrays['image_scales'].max()
        )
        <= 1.0
    )
    np.testing.assert_allclose(
        labels['boxes'][1], np.where(valid[1][:, None], truth[1, :, :4], 0.0), atol=1e-3
    )


@pytest.mark.parametrize('name', ['eval', 'eval_rect_lite', 'train_noaug'])
def test_training_targets_are_the_official_ones(name, golden, golden_file):
    arrays = golden(READERS[name])
    config = reader_config(name, **UNCHANGED, skip_crowd_during_training=name == 'train_noaug')
    ((images, targets, weights),) = dataset(golden_file(RECORDS), config, training=True)
    order = like_official(images, arrays)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(
        images.numpy()[order][:, ::4, ::4], arrays['images_step4'], atol=2e-4
    )
    same_targets({k: v.numpy()[order] for k, v in targets.items()}, weights, arrays)


def test_validation_targets_are_the_official_ones_without_crowds(golden, golden_file):
    arrays = golden(READERS['train_noaug'])
    ((images, targets, weights),) = validation_dataset(
        golden_file(RECORDS), reader_config('train_noaug')
    )
    np.testing.assert_allclose(
        images[:, ::4, ::4], arrays['images_step4'][in_order(arrays)], atol=2e-4
    )
    same_targets(targets, weights, arrays, in_order(arrays))


@pytest.mark.parametrize(
    'change', [{'anchor_scale': 3.9}, {'aspect_ratios': [1.0, 0.5, 2.0]}], ids=str
)
def test_golden_notices_other_anchors(golden, golden_file, change):
    arrays = golden(READERS['train_noaug'])
    ((_, targets, weights),) = validation_dataset(
        golden_file(RECORDS), reader_config('train_noaug', **change)
    )
    with pytest.raises(AssertionError):
        same_targets(targets, weights, arrays, in_order(arrays))


# ---- drawn data ----


def config_for(**change):
    return load_config(
        'efficientdet-lite0',
        [
            {'image_size': [64, 96], 'num_classes': 3, 'label_map': drawn.LABELS, 'batch_size': 4},
            change,
        ],
    )


@pytest.fixture(scope='module')
def seven(tmp_path_factory):
    """Seven photos of different sizes with 0 to 6 boxes, in three shards."""
    photos = [
        (
            40 + 8 * n,
            90 - 5 * n,
            [drawn.box(3 + 9 * i, 5, 8, 30, (1, 18, 400)[i % 3]) for i in range(n)],
        )
        for n in range(7)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('keras_efficientdet.data.record_writer.PHOTOS_PER_SHARD', 3)
        return drawn.records(tmp_path_factory.mktemp('seven'), photos)


def test_every_example_once_with_an_incomplete_last_batch(seven):
    data = dataset(seven, config_for(), training=False)
    batches = list(data)
    assert int(data.cardinality()) == len(batches) == 2
    assert [len(images) for images, _ in batches] == [4, 3]
    counts = {
        int(i): int(n)
        for _, labels in batches
        for i, n in zip(
            labels['id'], tf.reduce_sum(tf.cast(labels['classes'] >= 0, tf.int32), 1), strict=True
        )
    }
    assert counts == {n + 1: n for n in range(7)}
    assert [
        labels['id'].numpy().tolist() for _, labels in dataset(seven, config_for(), training=False)
    ] == [labels['id'].numpy().tolist() for _, labels in batches]


@pytest.mark.parametrize(
    ('batch', 'train', 'valid'),
    [(4, [4], [4, 3]), (7, [7], [7]), (2, [2, 2, 2], [2, 2, 2, 1]), (1, [1] * 7, [1] * 7)],
)
def test_known_cardinality(seven, batch, train, valid):
    for data, sizes in (
        (dataset(seven, config_for(batch_size=batch), training=True), train),
        (validation_dataset(seven, config_for(batch_size=batch)), valid),
    ):
        assert int(data.cardinality()) == len(sizes)
        assert [len(images) for images, _, _ in data] == sizes


def arrays_of(data):
    return [tf.nest.map_structure(np.asarray, batch) for batch in data]


def test_same_seed_same_batches_in_a_fresh_pipeline(seven):
    first, again, other = (
        arrays_of(dataset(seven, config_for(batch_size=2, seed=seed), training=True))
        for seed in (3, 3, 4)
    )
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    assert max(np.max(np.abs(a[0] - b[0])) for a, b in zip(first, other, strict=True)) > 0.1


def test_each_epoch_is_drawn_anew(seven):
    data = dataset(seven, config_for(batch_size=7, shuffle_buffer=1), training=True)
    (one, _, _), (two, _, _) = next(iter(data)), next(iter(data))
    assert (
        sum(np.max(np.abs(picture - two.numpy()), (1, 2, 3)).min() > 0.1 for picture in one.numpy())
        >= 6
    )  # one is plain grey


def test_weights_are_one_over_the_positives_of_the_batch(seven):
    for data in (
        dataset(seven, config_for(batch_size=2), training=True),
        validation_dataset(seven, config_for(batch_size=2)),
    ):
        seen = set()
        for _, targets, weights in data:
            positives = int(np.sum(targets['classes'].numpy() != -1))
            seen.add(positives)
            assert set(weights) == set(targets) == {'classes', 'boxes'}
            for weight in weights.values():
                np.testing.assert_allclose(
                    weight, np.full(len(targets['classes']), 1 / (1 + positives)), rtol=1e-6
                )
        assert len(seen) > 1


def test_a_picture_without_boxes(tmp_path):
    folder = drawn.records(tmp_path, [(40, 50, [])] * 2)
    for data in (
        dataset(folder, config_for(batch_size=2), training=True),
        validation_dataset(folder, config_for(batch_size=2)),
    ):
        ((images, targets, weights),) = data
        assert np.all(targets['classes'] == -1) and np.all(targets['boxes'] == 0.0)
        assert np.all(weights['boxes'] == 1.0) and np.all(np.isfinite(images))
    ((_, labels),) = dataset(folder, config_for(batch_size=2), training=False)
    assert labels['boxes'].shape == (2, 0, 4) and labels['classes'].shape == (2, 0)


def test_padding_of_labels(seven):
    (_, labels), _ = dataset(seven, config_for(), training=False)
    padded = labels['classes'].numpy() == -1
    assert padded.sum(1).tolist() == [3, 2, 1, 0]
    assert np.all(labels['boxes'].numpy()[padded] == 0.0) and not np.any(
        labels['crowd'].numpy()[padded]
    )
    assert labels['classes'].numpy()[3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(('skip', 'positive'), [(True, {1}), (False, {0, 1})])
def test_crowds_leave_the_targets_but_not_the_labels(tmp_path, skip, positive):
    folder = drawn.records(
        tmp_path, [(64, 96, [drawn.box(4, 4, 30, 30, 1, iscrowd=1), drawn.box(50, 20, 30, 30, 18)])]
    )
    config = config_for(**UNCHANGED, batch_size=1, skip_crowd_during_training=skip)
    ((_, targets, _),) = dataset(folder, config, training=True)
    assert set(np.unique(targets['classes'])) - {-1} == positive
    ((_, labels),) = dataset(folder, config, training=False)
    assert labels['crowd'].numpy().tolist() == [[True, False]] and labels[
        'classes'
    ].numpy().tolist() == [[0, 1]]


@pytest.mark.parametrize('change', [{}, {'mosaic_prob': 1.0, 'input_rand_vflip': True}], ids=str)
def test_targets_point_at_the_painted_boxes(seven, change):
    config = config_for(batch_size=7, jitter_min=0.5, **change)
    anchors, hits = config_anchors(config), 0
    ((images, targets, _),) = dataset(seven, config, training=True)
    pictures = (images.numpy() * config.model.stddev_rgb + config.model.mean_rgb).argmax(
        -1
    )  # red 0, green 1, blue 2
    boxes = decode(targets['boxes'], tf.constant(anchors)).numpy()
    for picture, ids, rows in zip(pictures, targets['classes'].numpy(), boxes, strict=True):
        for k, (ymin, xmin, ymax, xmax) in zip(ids[ids >= 0], rows[ids >= 0], strict=True):
            inside = picture[int(ymin) + 1 : int(ymax), int(xmin) + 1 : int(xmax)]
            if inside.size > 8:
                assert np.mean(inside == k) > 0.9
                hits += 1
    assert hits > 10


EVERYTHING = {
    'mosaic_prob': 0.5,
    'mixup_prob': 0.5,
    'autoaugment_policy': 'v0',
    'grid_mask': True,
    'color_jitter': 0.4,
    'input_rand_vflip': True,
}


def test_everything_on_keeps_the_length_and_the_seed(seven):
    first, again = (
        dataset(seven, config_for(batch_size=2, **EVERYTHING), training=True) for _ in range(2)
    )
    assert int(first.cardinality()) == 3
    first, again = arrays_of(first), arrays_of(again)
    assert [images.shape for images, _, _ in first] == [(2, 64, 96, 3)] * 3
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    assert all(np.all(np.isfinite(targets['boxes'])) for _, targets, _ in first)


def test_augmented_examples_are_what_the_network_sees(seven):
    config = config_for(batch_size=7, shuffle_buffer=1, mosaic_prob=1.0)
    ((images, _, _),) = dataset(seven, config, training=True)
    seen = list(augmented(seven, config))
    assert len(seen) == 7
    for picture, (image, boxes, classes) in zip(images, seen, strict=True):
        np.testing.assert_allclose(picture, image, atol=1e-5)
        assert (
            len(boxes) == len(classes)
            and np.all(boxes >= 0)
            and np.all(boxes.numpy()[:, 2:] <= [63, 95])
        )


def test_fewer_examples_than_a_batch(seven):
    with pytest.raises(
        DataError, match=r'7 examples, fewer than one batch of 8; lower train\.batch_size'
    ):
        dataset(seven, config_for(batch_size=8), training=True)
    assert [
        len(images) for images, _ in dataset(seven, config_for(batch_size=8), training=False)
    ] == [7]


def test_records_of_other_classes_are_refused(seven, golden_file):
    with pytest.raises(DataError, match='400'):
        dataset(seven, config_for(label_map={1: 'cat', 2: 'dog', 3: 'van'}), training=True)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r'\[image\] \[42\] \[has labels\] \[90 18\]'
    ):
        list(
            dataset(
                golden_file(RECORDS), config_for(label_map={1: 'a', 2: 'b', 3: 'c'}), training=False
            )
        )


def test_no_records(tmp_path):
    with pytest.raises(DataError, match='TFRecord files'):
        dataset(tmp_path, config_for(), training=False)


def test_the_stream_of_a_resumed_training_is_that_of_one_from_the_start(seven):
    config = config_for(batch_size=2, seed=3)
    assert steps_in_epoch(seven, config) == 3
    whole = arrays_of(training_stream(seven, config, 0).take(9))
    tf.nest.map_structure(
        np.testing.assert_array_equal,
        whole[6:],
        arrays_of(training_stream(seven, config, 2).take(3)),
    )
    for i, (images, _, _) in enumerate(whole):
        assert not any(np.array_equal(images, other) for other, _, _ in whole[:i])
    other = next(iter(training_stream(seven, config_for(batch_size=2, seed=4), 0)))
    assert not np.array_equal(other[0], whole[0][0])


def test_an_epoch_of_the_stream_takes_every_example_once_in_another_order(seven):
    config = config_for(batch_size=7, **UNCHANGED)
    (one, _, _), (two, _, _) = arrays_of(training_stream(seven, config, 0).take(2))
    matches = [[np.array_equal(a, b) for b in two] for a in one]
    assert (
        np.sum(matches, 0).min() >= 1
        and np.sum(matches, 1).min() >= 1
        and not np.all(np.diag(matches))
    )
    with pytest.raises(DataError, match=r'7 examples, fewer than .*steps_per_execution = 8'):
        steps_in_epoch(seven, config_for(batch_size=4, steps_per_execution=2))
