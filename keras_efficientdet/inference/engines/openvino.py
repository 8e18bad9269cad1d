"""OpenVINO models of `export_openvino` (extra `openvino`)."""

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.optional import require


def load(path):
    """(run, labels) of an .xml file, computed in float32: OpenVINO's default of bfloat16 moves boxes."""
    labels, openvino = read_labels(path), require('openvino', 'openvino')
    compiled = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    names = [row.any_name for row in compiled.outputs]

    def run(batch):
        found = compiled(batch)
        return {
            name: found[name].copy() for name in names
        }  # the engine writes into the same memory again

    return run, labels
