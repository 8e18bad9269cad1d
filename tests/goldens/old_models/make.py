"""Makes the files beside it in a checkout of 9340204: what later versions must read.

  PYTHONPATH=.:tests TF_CPP_MIN_LOG_LEVEL=3 python make.py keras2   (keras3 under Keras 3)

Each lane gets a folder with tiny.keras and an exported SavedModel, both packed; fit.tar.gz, what
`fit` left without logs, report and last.weights.h5; and expected.npz with the outputs of the
network and the detections of the detector.
"""

import pathlib
import shutil
import sys
import tarfile

import drawn
import keras
import numpy as np
import official

from keras_efficientdet import (
    checkpoints,
    detector,
    efficientdet,
    efficientnet,
    export_savedmodel,
    fit,
    load_config,
    training,
)

efficientnet.SCALINGS['tiny'] = (0.05, 0.1)
CONFIG = {
    'image_size': [48, 64],
    'backbone_name': 'tiny',
    'min_level': 3,
    'max_level': 5,
    'fpn_cell_repeats': 1,
    'box_class_repeats': 1,
    'fpn_num_filters': 8,
    'batch_size': 4,
    'num_epochs': 1,
    'learning_rate': 0.01,
    'moving_average_decay': 0.5,
    'max_nms_inputs': 200,
    'max_output_size': 10,
    'num_classes': 3,
    'label_map': {18: 'dog', 1: 'cat', 400: 'van'},
}


def packed(folder, path):
    with tarfile.open(path, 'w:gz', compresslevel=9) as archive:
        archive.add(folder, arcname=folder.name)
    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def main(output):
    output.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    config = load_config('efficientdet-d0', CONFIG)
    model = efficientdet(config)
    checkpoints.load_official(
        model,
        official.seeded_weights(
            checkpoints.official_shapes(model), {'fpn_gain': 0.2, 'project_gain': 0.6}
        ),
    )
    images = official.make_input(2, 48, 64, seed=0)
    pixels = np.clip(128 + 50 * official.make_input(2, 60, 90, seed=1), 0, 255).astype(np.uint8)
    expected = {f'network.{k}': np.asarray(v) for k, v in model(images).items()}
    expected |= {f'detector.{k}': np.asarray(v) for k, v in detector(model)(pixels).items()}
    model.save(output / 'tiny.keras')
    packed(output / 'tiny.keras', output / 'tiny.tar.gz')
    export_savedmodel(model, output / 'savedmodel')
    packed(output / 'savedmodel', output / 'savedmodel.tar.gz')
    photos = [
        (
            60,
            90,
            [
                drawn.box(5 + i, 10, 30, 35, 1),
                drawn.box(50, 15 + i, 30, 30, 18),
                drawn.box(10, 2, 20, 25, 400),
            ],
        )
        for i in range(8)
    ]
    records = drawn.records(output / 'data', photos)
    fit(config, str(records), str(records), output / 'fit')
    trained = training.load_trained(output / 'fit')
    expected |= {f'trained.{k}': np.asarray(v) for k, v in trained(images).items()}
    for name in ('logs', 'report'):
        shutil.rmtree(output / 'fit' / name)
    shutil.rmtree(output / 'data')
    (output / 'fit' / 'last.weights.h5').unlink()
    packed(output / 'fit', output / 'fit.tar.gz')
    np.savez_compressed(output / 'expected.npz', **expected)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
