"""Deliberately broken copies of the library, each of which some test must notice.

Run: python tests/mutations.py [name part ...]   (or make mutations). The exit status is 1 if a
broken copy passes its tests.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Mutation(typing.NamedTuple):
    """`old` -> `new` in a file of the library; the test files that must fail then.

    `more` is put at the end of the file.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str
    more: str = ''


MUTATIONS = (
    Mutation(
        'batch norm epsilon of 1e-5',
        'network/blocks.py',
        'BN_EPSILON = 1e-3',
        'BN_EPSILON = 1e-5',
        'test_efficientdet.py -k d0_128_sum',
    ),
    Mutation(
        'batch norm momentum of 0.9',
        'network/blocks.py',
        'BN_MOMENTUM = 0.99',
        'BN_MOMENTUM = 0.9',
        'test_training.py -k sgd',
    ),
    Mutation(
        'biased moving variance',
        'network/layers.py',
        '+ batch_variance *',
        '+ tf.math.reduce_variance(tf.cast(inputs, tf.float32), [0, 1, 2]) *',
        'test_layers.py',
    ),
    Mutation(
        'detections beyond the image',
        'network/detector.py',
        'images.undo(boxes, scale_back, sizes)',
        'images.undo(boxes, scale_back)',
        'test_detector.py -k inside',
    ),
    Mutation(
        'image scaled to cover the input',
        'ops/images.py',
        'tf.minimum(target_height / height, target_width / width)',
        'tf.maximum(target_height / height, target_width / width)',
        'test_end_to_end.py -k lite0',
    ),
    Mutation(
        'engines without a lock',
        'threads.py',
        '        with lock:\n            return function(*args, **kwargs)',
        '        return function(*args, **kwargs)',
        'test_processes.py -k "share and graph"',
    ),
    Mutation(
        'pool with a window of 2',
        'network/pyramids/pyramid.py',
        '[s + 1 for s in strides]',
        '[2 for s in strides]',
        'test_pyramids.py',
    ),
    Mutation(
        'activation after the fusion left out',
        'network/pyramids/pyramid.py',
        'else norm(conv(act(x)))',
        'else norm(conv(x))',
        'test_efficientdet.py -k d0_128_sum',
    ),
    Mutation(
        'no batch norm after a 1x1 convolution',
        'network/pyramids/pyramid.py',
        "batch_norm(f'{name}.bn')(x) if resample_bn else x",
        'x',
        'test_efficientdet.py -k parameters',
    ),
    Mutation(
        'two resamplings of P4 under one name',
        'network/pyramids/pyramid.py',
        'resample_{k}_{offset}_{len(known)}',
        'resample_{k}_{offset}',
        'test_pyramids.py',
    ),
    Mutation(
        'fusion without epsilon',
        'network/layers.py',
        'FUSE_EPSILON = 1e-4',
        'FUSE_EPSILON = 1e-2',
        'test_layers.py',
    ),
    Mutation(
        'fusion weights not rectified',
        'network/layers.py',
        'tf.unstack(tf.nn.relu(weights))',
        'tf.unstack(weights)',
        'test_layers.py',
    ),
    Mutation(
        'one P4 for both paths',
        'network/pyramids/pyramid.py',
        'resample_name, **resampling))',
        'resample_name, **resampling))\n'
        '            if met[-1].shape[1:3] == known[offset].shape[1:3]:\n'
        '                known[offset] = met[-1]',
        'test_efficientdet.py -k parameters',
    ),
    Mutation(
        'backbone tapped one block early',
        'network/backbones/efficientnet.py',
        'features[level] = x\n            level += 1\n        x = mbconv(',
        'features[level] = before\n            level += 1\n        before, x = x, mbconv(',
        'test_efficientdet.py -k d0_128_sum',
    ),
    Mutation(
        'batch norm momentum turned round',
        'network/blocks.py',
        'BN_MOMENTUM = 0.99',
        'BN_MOMENTUM = 0.01',
        'test_training.py -k sgd',
    ),
    Mutation(
        'bias after a depthwise convolution',
        'network/blocks.py',
        '        use_bias=False,\n        depthwise_initializer',
        '        use_bias=True,\n        depthwise_initializer',
        'test_efficientdet.py -k parameters',
    ),
    Mutation(
        'padding on both sides before a stride',
        'network/backbones/efficientnet.py',
        "name=f'{name}.depthwise_conv2d', **style\n    )(x)",
        "name=f'{name}.depthwise_conv2d', **style\n    )(_shifted(x) if block.stride == 2 else x)",
        'test_efficientdet.py -k d0_128_sum',
        '\n\ndef _shifted(x):\n'
        '    x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)))(x)\n'
        '    return keras.layers.Cropping2D(((0, 1), (0, 1)))(x)\n',
    ),
    Mutation(
        'features taken after the stride',
        'network/backbones/efficientnet.py',
        'features[level] = x',
        'features[level] = images if level == 3 else x',
        'test_efficientnet.py',
    ),
    Mutation(
        'means of red and blue exchanged for a ResNet',
        'network/backbones/applications.py',
        'step = -1 if reverse else 1',
        'step = 1',
        'test_applications.py -k "features_are and ResNet50"',
    ),
    Mutation(
        'squeeze from the expanded width',
        'network/backbones/efficientnet.py',
        'int(block.filters_in * SQUEEZE_RATIO)',
        'int(block.filters_in * block.expand * SQUEEZE_RATIO)',
        'test_efficientdet.py -k parameters',
    ),
    Mutation(
        'nearest by half-pixel centres',
        'network/resizing.py',
        'half_pixel_centers=False',
        'half_pixel_centers=True',
        'test_layers.py',
    ),
    Mutation(
        'focal gamma of 2',
        'network/losses.py',
        'wrong**self.gamma',
        'wrong**2.0',
        'test_losses.py',
    ),
    Mutation(
        'ignored anchors not masked',
        'network/losses.py',
        'tf.where((ids != IGNORED)[..., None], loss, 0.0)',
        'loss',
        'test_losses.py',
    ),
    Mutation(
        'box loss over all anchors',
        'network/losses.py',
        'tf.where(y_true != 0.0, huber, 0.0)',
        'huber',
        'test_losses.py',
    ),
    Mutation(
        'height and width of codes swapped',
        'ops/anchors.py',
        'tf.math.log(h / ha), tf.math.log(w / wa)',
        'tf.math.log(w / wa), tf.math.log(h / ha)',
        'test_matching.py',
    ),
    Mutation(
        'centre as the mean of the sides',
        'ops/anchors.py',
        'return ymin + h / 2, xmin + w / 2,',
        'return (ymin + ymax) / 2, (xmin + xmax) / 2,',
        'test_training.py -k sgd',
    ),
    Mutation(
        'ratio as height over width',
        'ops/anchors.py',
        '(math.sqrt(ratio), 1 / math.sqrt(ratio))',
        '(1 / math.sqrt(ratio), math.sqrt(ratio))',
        'test_anchors.py',
    ),
    Mutation(
        'image height and width swapped',
        'ops/anchors.py',
        'sizes = [_size(image_size)]',
        'sizes = [_size(image_size)[::-1]]',
        'test_anchors.py',
    ),
    Mutation(
        'no forced matches', 'ops/matching.py', '(owner < count) | (', '(', 'test_matching.py'
    ),
    Mutation(
        'an area with +1',
        'ops/boxes.py',
        'return (ymax - ymin) * (xmax - xmin)',
        'return (ymax - ymin + 1) * (xmax - xmin + 1)',
        'test_boxes.py',
    ),
    Mutation(
        'sigma halved twice',
        'ops/nms.py',
        'tf.exp(-iou * iou / sigma)',
        'tf.exp(-iou * iou / (sigma / 2))',
        'test_nms.py',
    ),
    Mutation(
        'classes suppress one another',
        'ops/nms.py',
        'weight = tf.where(candidates.kind == taken.kind, weight, 1.0)',
        'weight += 0.',
        'test_nms.py',
    ),
    Mutation(
        'cosine shifted by the warm-up',
        'training/schedules.py',
        'tf.cos(math.pi * step /',
        "tf.cos(math.pi * (step - s['warmup_steps']) /",
        'test_schedules.py',
    ),
    Mutation(
        'rate not scaled with the batch',
        'training/schedules.py',
        'train.learning_rate * train.batch_size / REFERENCE_BATCH',
        'train.learning_rate',
        'test_schedules.py',
    ),
    Mutation(
        'global clip only',
        'training/optimizers.py',
        'tf.clip_by_norm(g, norm) for g in gradients]',
        'g for g in gradients]',
        'test_schedules.py',
    ),
    Mutation(
        'averages ignored',
        'weights/official.py',
        '({**plain, **shadows}, set(shadows), slots) if ema',
        '({**shadows, **plain}, set(shadows), slots) if ema',
        'test_weights_official.py -k "tf1 and ema"',
    ),
    Mutation(
        'two nodes of PyTorch exchanged',
        'weights/torch_dialects.py',
        'high - 1 - node if self.is_up(node)',
        'low + node if self.is_up(node)',
        'test_weights_torch.py -k "other_program or come_back"',
    ),
    Mutation(
        'expanding block of PyTorch taken for a plain one',
        'weights/torch_dialects.py',
        "'conv2d_1': 'conv_pwl'",
        "'conv2d_1': 'conv_pw'",
        'test_weights_torch.py -k "effdet and come_back"',
    ),
    Mutation(
        'average of the step after',
        'training/state.py',
        'ramp = (1.0 + step) / (10.0 + step)',
        'ramp = (2. + step) / (11. + step)',
        'test_training.py -k formula',
    ),
    Mutation(
        'parts of a batch ramped as one step',
        'training/state.py',
        'BN_MOMENTUM**parts',
        'BN_MOMENTUM',
        'test_accumulation.py -k ramped',
    ),
    Mutation(
        'L2 not halved',
        'network/blocks.py',
        'keras.regularizers.L2(weight_decay / 2.0)',
        'keras.regularizers.L2(weight_decay)',
        'test_training.py -k l2',
    ),
    Mutation(
        'padding before normalising',
        'ops/images.py',
        'padded = tf.pad(cut, padding)',
        'padded = tf.pad(cut, padding) - 2.',
        'test_images.py',
    ),
    Mutation(
        'boxes rotate the other way',
        'data/augment/affine.py',
        'x_row = (-b / determinant',
        'x_row = (b / determinant',
        'test_affine.py',
    ),
    Mutation(
        'a box that left grows back',
        'data/augment/annotations.py',
        'return tf.where((same & ~left)[:, None], cut, 0.0)',
        'return cut',
        'test_affine.py',
    ),
    Mutation(
        'operations without their probability',
        'data/augment/policies.py',
        '(tf.random.stateless_uniform([], seeds[0]) < prob',
        '(tf.zeros([]) < prob',
        'test_policies.py -k probability',
    ),
    Mutation(
        'mosaic boxes not moved to their quarter',
        'data/augment/mixing.py',
        'axis_aligned((1.0, 1.0), to_corner, room)',
        'axis_aligned((1.0, 1.0), (0.0, 0.0), room)',
        'test_mixing.py',
    ),
    Mutation(
        'saturation by the plain mean',
        'data/augment/color.py',
        '[19595, 38470, 7471]',
        '[21845, 21845, 21846]',
        'test_color.py',
    ),
    Mutation(
        'last classes shifted by one',
        'ops/coco_rows.py',
        "'category_id': ids[c], 'bbox'",
        "'category_id': ids[(c + 1) % len(ids)], 'bbox'",
        'test_evaluation.py',
    ),
    Mutation(
        'EXIF always big-endian',
        'export/upright.py',
        "little = data[header] == ord('I')",
        'little = data[header] == 0',
        'test_upright.py',
    ),
    Mutation(
        'scores and classes of a TFLite file swapped',
        'export/tflite.py',
        "('boxes', 'classes', 'scores', 'count')",
        "('boxes', 'scores', 'classes', 'count')",
        'test_tflite.py -k "order or hard"',
    ),
    Mutation(
        'a trace for each size of picture',
        'inference/engines/keras.py',
        '[tf.TensorSpec([None, None, None, 3], tf.uint8)]',
        'None',
        'test_detector.py -k one_trace',
    ),
    Mutation(
        'heat of several objects added up',
        'ops/heat_maps.py',
        'unsorted_segment_max',
        'unsorted_segment_sum',
        'test_heat_maps.py',
    ),
    Mutation(
        'masks stay where images are moved',
        'data/augment/annotations.py',
        "'mask': _move_mask",
        "'mask': lambda mask, transform: mask",
        'test_augment_masks.py -k every',
    ),
    Mutation(
        'masks of a mosaic in another order',
        'data/augment/mixing.py',
        'pixels = [part[key] for part in parts]',
        "pixels = [part[key] for part in parts[:: 1 if key == 'image' else -1]]",
        'test_augment_masks.py -k mixed',
    ),
    Mutation(
        'the skip feature before the doubled one',
        'network/heads/segmentation.py',
        '[_as_large_as(features[level], x, step), features[level]]',
        '[features[level], _as_large_as(features[level], x, step)]',
        'test_efficientdet.py -k d0_128_seg',
    ),
    Mutation(
        'ignored pixels are background',
        'network/losses.py',
        'tf.where(known, loss, 0.0)',
        'loss',
        'test_segmentation.py -k loss',
    ),
    Mutation(
        'larger objects on top of smaller ones',
        'data/painting.py',
        '-pair[1].sum()',
        'pair[1].sum()',
        'test_painting.py -k on_top',
    ),
    Mutation(
        'left stays left in mirrored images',
        'data/augment/handedness.py',
        "tf.where(mirrors, other, example['classes'])",
        "example['classes']",
        'test_handedness.py',
    ),
    Mutation(
        'key points that left the image lie on its edge',
        'data/augment/annotations.py',
        'same & ~left',
        'same',
        'test_handedness.py -k leave',
    ),
    Mutation(
        'key points by x, y',
        'network/heads/points.py',
        '[cell // columns, cell % columns]',
        '[cell % columns, cell // columns]',
        'test_points.py -k perfect',
    ),
    Mutation(
        'crop beside the middle',
        'ops/images.py',
        '(spare + 1) // 2',
        '(spare + 1) // 4',
        'test_images.py -k middle',
    ),
    Mutation(
        'the sixth class counts in top-5',
        'evaluation/whole_images.py',
        'np.array(places) < k',
        'np.array(places) <= k',
        'test_whole_images.py',
    ),
    Mutation(
        'shares of classes by squared areas',
        'network/heads/classification.py',
        'areas = area(boxes)',
        'areas = area(boxes) ** 2',
        'test_classification.py',
    ),
)


def noticed(mutation):
    """Whether the mutation's tests fail on a broken copy of the library."""
    file, _, selection = mutation.tests.partition(' -k ')
    chosen = ['-k', selection.strip('"')] if selection else []
    with broken_copy(mutation) as (copy, environment):
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', '-x', f'tests/{file}', *chosen],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(
            f'{mutation.name}: pytest could not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}'
        )
    return done.returncode == 1


@contextlib.contextmanager
def broken_copy(mutation):
    """Yields (folder with a broken copy of the library, environment in which Python imports it)."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in ('keras_efficientdet', 'hparams', 'tests', 'tools'):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(ROOT / 'pyproject.toml', copy)
        path = copy / 'keras_efficientdet' / mutation.file
        path.write_text(broken(path.read_text(), mutation))
        shared = os.environ.get('KERAS_EFFICIENTDET_SHARED', str(ROOT.parent / 'shared'))
        yield (
            copy,
            {
                **os.environ,
                'PYTHONPATH': f'{copy}:{copy / "tests"}',
                'TF_CPP_MIN_LOG_LEVEL': '3',
                'KERAS_EFFICIENTDET_SHARED': shared,
            },
        )


def broken(text, mutation):
    """The file's text with the mutation. Raises ValueError unless its place is there just once."""
    if text.count(mutation.old) != 1:
        raise ValueError(
            f'{mutation.name}: {mutation.old!r} occurs {text.count(mutation.old)} times in '
            f'{mutation.file}'
        )
    return text.replace(mutation.old, mutation.new) + mutation.more


if __name__ == '__main__':
    wanted = [
        m for m in MUTATIONS if not sys.argv[1:] or any(part in m.name for part in sys.argv[1:])
    ]
    missed = []
    for one in wanted:
        seen = noticed(one)
        print(f'{"noticed" if seen else "MISSED "}  {one.name:<44} {one.tests}', flush=True)
        missed += [] if seen else [one.name]
    print(f'{len(wanted) - len(missed)} of {len(wanted)} noticed')
    sys.exit(1 if missed else 0)
