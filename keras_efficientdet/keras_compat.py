"""Every difference between Keras 2.15 and Keras 3 that this package meets."""

import keras

KERAS_3 = hasattr(keras, 'ops')


def variable_path(variable):
    """'layer/kernel' on both generations of Keras."""
    return getattr(variable, 'path', None) or variable.name.split(':')[0]


def build_once(optimizer, variables):
    """Makes the optimizer's variables where they are not there; Keras 3's LossScaleOptimizer would make new ones each time."""
    if not getattr(optimizer, 'built', False):
        optimizer.build(variables)
