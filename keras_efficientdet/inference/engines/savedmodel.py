"""SavedModels of `export_savedmodel`, by TensorFlow."""

import os
import pathlib

import tensorflow as tf

from keras_efficientdet.export.labels import read_labels


def folder_of(path: str | os.PathLike) -> pathlib.Path | None:
    """The folder with saved_model.pb: `path` itself, or its newest version; None without one."""
    path = pathlib.Path(path)
    if (path / 'saved_model.pb').is_file():
        return path
    folders = [file.parent for file in path.glob('*/saved_model.pb')]
    versions = [folder for folder in folders if folder.name.isdecimal()]
    return max(versions, key=lambda folder: int(folder.name), default=None)


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """Graph, variables and labels in the folder that `folder_of` finds, sorted."""
    folder = folder_of(path)
    found = [folder / 'saved_model.pb', *folder.glob('variables/*'), *folder.glob('assets.extra/*')]
    return sorted(file for file in found if file.is_file())


def load(path):
    """(run, labels) of the folder of a version, or of the newest version in a folder of them."""
    folder = folder_of(path)
    labels = read_labels(folder)
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures['serving_default']

    # `_keep` holds a reference: a signature alone does not keep its tables and constants alive.
    def run(batch, _keep=loaded):
        found = signature(images=tf.constant(batch))
        return {name: value.numpy() for name, value in found.items()}

    return run, labels
