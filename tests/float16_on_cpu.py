"""Runs a program with gradients of float16 convolutions by way of float32: python tests/float16_on_cpu.py PROGRAM ARGUMENTS...

TensorFlow's own kernels for them take half a minute a step on a CPU where float32 takes a second. Values are rounded to float16
where a GPU does so, and sums are float32. For results/precision.sh.
"""
import pathlib
import runpy
import sys

import tensorflow as tf
from tensorflow.python.framework import ops

OPS = ('Conv2D', 'DepthwiseConv2dNative')


def by_float32(kind):
    """The gradient of an operation, computed by its float32 form where inputs are float16."""
    def gradient(op, upstream):
        if upstream.dtype != tf.float16:
            return own(op, upstream)
        attributes = {name: op.get_attr(name) for name in ('strides', 'padding', 'data_format', 'dilations')}
        attributes['padding'] = attributes['padding'].decode()
        attributes['data_format'] = attributes['data_format'].decode()
        raw = getattr(tf.raw_ops, kind)
        inputs = [tf.cast(x, tf.float32) for x in op.inputs]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = raw(input=inputs[0], filter=inputs[1], **attributes)
        gradients = tape.gradient(outputs, inputs, output_gradients=tf.cast(upstream, tf.float32))
        return [tf.cast(g, tf.float16) for g in gradients]

    own = ops.gradient_registry.lookup(kind)
    return gradient


if __name__ == '__main__':
    for kind in OPS:
        ops.gradient_registry._registry[kind]['type'] = by_float32(kind)
    sys.argv.pop(0)
    sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name='__main__')
