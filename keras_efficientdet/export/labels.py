"""The class names and ids that travel with an export."""
import pathlib

from keras_efficientdet.config import class_ids, class_names

LABELS = pathlib.Path('assets.extra', 'labels.json')     # TensorFlow's own place for files that the graph does not read


def labels(config):
    """What travels beside an export: {'model', 'names', 'ids'}, lists in class order."""
    return {'model': config.model.name, 'names': list(class_names(config.model)), 'ids': list(class_ids(config.model))}
