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


def layer_calls(model):
    """(layer, output tensors) of each call of a layer in a functional model, in no order."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    return [(node.operation if KERAS_3 else node.layer, node.outputs) for node in nodes]
