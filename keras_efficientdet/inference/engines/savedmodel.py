"""SavedModels of `export_savedmodel`, by TensorFlow."""

import tensorflow as tf

from keras_efficientdet.export.labels import read_labels


def folder_of(path):
    """The folder that holds saved_model.pb: path, or its newest version; None if neither does."""
    versions = [p.parent for p in path.glob('[0-9]*/saved_model.pb') if p.parent.name.isdecimal()]
    if (path / 'saved_model.pb').is_file():
        return path
    return max(versions, key=lambda p: int(p.name), default=None)


def files_of(path):
    """What a SavedModel is made of: graph, variables and labels of the folder itself, or of its newest version."""
    folder = folder_of(path)
    found = [folder / 'saved_model.pb', *folder.glob('variables/*'), *folder.glob('assets.extra/*')]
    return sorted(file for file in found if file.is_file())


def load(path):
    """(run, labels) of the folder of a version, or of the newest version in a folder of versions."""
    folder = folder_of(path)
    found, loaded = read_labels(folder), tf.saved_model.load(str(folder))
    signature = loaded.signatures['serving_default']

    def run(
        batch, _keep=loaded
    ):  # the signature alone does not keep its tables and constants alive
        return {k: v.numpy() for k, v in signature(images=tf.constant(batch)).items()}

    return run, found
