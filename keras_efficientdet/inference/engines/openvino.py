"""OpenVINO models of `export_openvino` (extra `openvino`)."""

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.optional import require
from keras_efficientdet.threads import one_at_a_time


def load(path):
    """(run, labels) of an .xml file."""
    openvino = require('openvino', 'openvino')
    labels = read_labels(path)
    # By default OpenVINO computes in bfloat16 where the processor has it, which moves boxes.
    compiled = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    names = [output.any_name for output in compiled.outputs]

    @one_at_a_time  # one request, and one memory for its results
    def run(batch):
        found = compiled(batch)
        # Copied, because the next call writes into the same memory.
        return {name: found[name].copy() for name in names}

    return run, labels
