"""What every export starts from: a network with constant weights, and the graph around it."""

from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_efficientdet.config import Config
from keras_efficientdet.network.detector import detections, is_detector
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images
from keras_efficientdet.ops.anchors import decode


def frozen(model: keras.Model) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The network as a function float32 [B, height, width, 3] -> {name: output}.

    Its weights are constants, so that TensorFlow itself folds batch norms into convolutions when it
    loads the graph.

    Raises:
      ValueError: the result of `detector`, whose outputs are detections.
    """
    if is_detector(model):
        raise ValueError(
            f'{model.name}: give the result of `efficientdet`, not of `detector`; an export adds '
            'its own pre- and post-processing'
        )
    spec = tf.TensorSpec([None, *model.detection_config.model.image_size, 3], tf.float32, 'images')
    function = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    concrete = function.get_concrete_function()
    constant = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    # The frozen function returns a list, in the order of the sorted names.
    shapes = {name: output.shape for name, output in sorted(concrete.structured_outputs.items())}

    def run(images):
        outputs = dict(zip(shapes, constant(images), strict=True))
        for name, output in outputs.items():
            output.set_shape(shapes[name])  # lost in the conversion to constants
        return outputs

    return run


def prepare(
    batch: tf.Tensor, config: Config, resizes_uint8: bool = True
) -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 [B, H, W, 3] -> the network's input [B, height, width, 3] and the scale back [B].

    resizes_uint8: False for formats whose operator resizes uint8 to uint8, without fractions.
    """
    pixels = batch if resizes_uint8 else tf.cast(batch, tf.float32)
    return images.prepare(
        pixels,
        config.model.image_size,
        config.model.mean_rgb,
        config.model.stddev_rgb,
        config.model.resize,
    )


def candidates(
    outputs: dict[str, tf.Tensor], scale_back: tf.Tensor, config: Config, sizes: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Outputs of the network -> what an NMS outside of the graph takes.

    Boxes are not clipped to the `sizes` of the images: NMS compares whole boxes.

    Returns:
      {'boxes': float32 [B, A, 4] of every anchor, ymin xmin ymax xmax in pixels of the original
      images, 'scores': float32 [B, A, num_classes]}.
    """
    head = head_of(config)
    assert head.codes and head.anchors  # exports check this before they build a graph
    codes, scores = head.codes(outputs, config)
    boxes = decode(codes, tf.constant(head.anchors(config)))
    return {'boxes': images.undo(boxes, scale_back), 'scores': scores}


def with_preprocessing(
    network: Callable, config: Config, finish: Callable = detections, *, resizes_uint8: bool = True
) -> tf.types.experimental.PolymorphicFunction:
    """A tf.function: uint8 `images` [B, H, W, 3] of any batch and image size -> detections.

    Args:
      network: the result of `frozen`.
      finish: a function (outputs, scale back, config, sizes), `detections` or `candidates`.
      resizes_uint8: as in `prepare`.
    """

    def run(batch):
        prepared, scale_back = prepare(batch, config, resizes_uint8)
        return finish(network(prepared), scale_back, config, images.sizes(batch))

    return tf.function(
        run, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, 'images')]
    )
