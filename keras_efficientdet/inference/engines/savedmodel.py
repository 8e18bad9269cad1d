"""SavedModels of `export_savedmodel`, by TensorFlow."""

import pathlib

import tensorflow as tf

from keras_efficientdet.export.labels import read_labels, version_folder
from keras_efficientdet.inference.engines.processes import refuse_lost_threads


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Graph, variables and labels in the folder of a version, sorted."""
    found = [folder / 'saved_model.pb', *folder.glob('variables/*'), *folder.glob('assets.extra/*')]
    return sorted(file for file in found if file.is_file())


def load(path):
    """(run, labels) of the folder of a version, or of the newest version in a folder of them."""
    refuse_lost_threads()
    folder = version_folder(path)
    labels = read_labels(folder)
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures['serving_default']

    # `_keep` holds a reference: a signature alone does not keep its tables and constants alive.
    def run(batch, _keep=loaded):
        found = signature(images=tf.constant(batch))
        return {name: value.numpy() for name, value in found.items()}

    return run, labels
