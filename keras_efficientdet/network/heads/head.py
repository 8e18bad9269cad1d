"""What a detection head is, and the tower of shared convolutions that heads are made of."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.config import Config
from keras_efficientdet.network.blocks import activation, batch_norm, conv2d, separable_conv2d
from keras_efficientdet.network.layers import StochasticDepth


@dataclasses.dataclass(frozen=True)
class Head:
    """The functions of one detection head. The rest of the library uses nothing else of it.

    Throughout, boxes are float32 ymin xmin ymax xmax in pixels of the network's input, classes are
    0-based, and `config` is the whole Config. Output names are the head's own choice; targets,
    losses and sample weights have the same names.

    Every head has:
      build(features {level: [B, h, w, C]}, config) -> {name: Keras tensor [B, ...], float32}.
      targets(config) -> a function (boxes [N, 4], classes int32 [N], **`annotations`) of one image
        -> ({name: target [...]}, its positives). N may be 0. It runs inside tf.data, so the shapes
        of its targets must be static.
      losses(config) -> ({name: keras.losses.Loss}, {name: weight}). A loss returns one value per
        image, the sum over its places; dividing is left to the sample weights.
      positives(targets {name: [B, ...]}) -> float32 [], the number of positives in a batch, or
        {name: float32 []} where the outputs count different things.
      divisor(positives) -> of the same structure, what the losses of a batch are divided by; if not
        given, 1 + positives, as in google/automl.
      detect(outputs {name: [B, ...]}, config) -> boxes [B, D, 4], scores float32 [B, D], classes
        int32 [B, D], count int32 [B]; best first, rows from `count` on are 0. Boxes have
        ymin <= ymax and xmin <= xmax. It becomes part of exported graphs.

      annotations: what it learns from beside boxes and classes: ('mask',) or nothing.
      metric: the metric of `evaluate` by which `fit` knows the best weights.
      finds: 'boxes'; 'images', classes of the image with boxes as large as it, which are evaluated
        by top-1 and top-5 accuracy, too; 'points', boxes without size, which are evaluated by PCK
        and mean error, too; or 'masks', no objects.

    Optional, None where a head has no such thing. What needs it is then refused with an error, or
    left out where it is only shown:
      candidates(outputs, config) -> boxes [B, N, 4], scores [B, N], classes int32 [B, N]: what
        enters non-maximum suppression. Needed by evaluation.numpy_nms.
      anchors(config) -> np.ndarray [A, 4], ordered by level, y, x, scale, aspect ratio. Needed by
        the anchor checks of the doctor.
      codes(outputs, config) -> box codes [B, A, 4] (`ops.anchors.encode`) relative to `anchors`,
        scores [B, A, num_classes]. Given together with `anchors`. Needed by exports whose
        non-maximum suppression is outside of the graph (TFLite nms='op', ONNX nms=False).
      objects(targets of one image, as arrays, config) -> np.ndarrays boxes [N, 4], classes [N],
        anchors [P, 4]: the ground truth read back from the targets, and the anchors that are to
        find it. For drawing.
      mask(outputs, config) -> uint8 [B, height, width] in pixels of the network's input: the class
        of each, from 1 on, 0 for background. It becomes part of exported graphs. Such a head is
        evaluated by mIoU, too.
    """

    build: Callable[[dict, Config], dict]
    targets: Callable[[Config], Callable]
    losses: Callable[[Config], tuple[dict, dict]]
    positives: Callable[[dict], tf.Tensor]
    detect: Callable[[dict, Config], tuple]
    divisor: Callable[[tf.Tensor], tf.Tensor] = lambda positives: 1.0 + positives
    annotations: tuple[str, ...] = ()
    metric: str = 'AP'
    finds: str = 'boxes'
    candidates: Callable[[dict, Config], tuple] | None = None
    anchors: Callable[[Config], np.ndarray] | None = None
    codes: Callable[[dict, Config], tuple] | None = None
    objects: Callable[[dict, Config], tuple] | None = None
    mask: Callable[[dict, Config], tf.Tensor] | None = None

    def weights(self, positives, names) -> dict[str, tf.Tensor]:
        """{output name: float32 []}: the sample weights of a batch, 1 / divisor."""
        divisors = self.divisor(positives)
        if not isinstance(divisors, dict):
            divisors = dict.fromkeys(names, divisors)
        return {name: 1.0 / divisor for name, divisor in divisors.items()}


def at_least_one(positives):
    """The divisor of heads whose losses are means over positives, float32 []."""
    return tf.maximum(positives, 1.0)


def above(score_thresh, boxes, scores, classes):
    """What `detect` returns, of detections in descending order of scores [B, D].

    boxes: [B, D, 4], or one for all.
    """
    found = scores > score_thresh
    return (
        tf.where(found[..., None], boxes, 0.0),
        tf.where(found, scores, 0.0),
        tf.where(found, classes, 0),
        tf.reduce_sum(tf.cast(found, tf.int32), 1),
    )


def conv_tower(
    features,
    *,
    name,
    repeats,
    filters,
    outputs,
    bias_initializer='zeros',
    act_type='swish',
    separable=True,
    survival_prob=None,
    weight_decay=0.0,
):
    """Convolutions shared by all levels, with a batch norm per level, and a predicting one.

    Args:
      features: {level: [B, h, w, C]}.
      name: prefix of the layer names, 'class_net.class'.
      repeats: number of convolutions before the predicting one.
      filters: their channels.
      outputs: channels of the predicting convolution.
      survival_prob: stochastic depth. If set, the second and later convolutions get a residual
        connection, which is used at inference, too.
    Returns:
      {level: [B, h, w, outputs]}, float32.
    """
    style = {'weight_decay': weight_decay}
    if separable:
        style['initializer'] = {'class_name': 'VarianceScaling', 'config': {}}
        conv = separable_conv2d
    else:
        style['initializer'] = {'class_name': 'RandomNormal', 'config': {'stddev': 0.01}}
        style['kernel_size'] = 3
        conv = conv2d
    convs = [conv(filters, name=f'{name}-{i}', **style) for i in range(repeats)]
    # In float32 under mixed precision, too: losses and box decoding need its digits.
    predicting = {'bias_initializer': bias_initializer, 'dtype': 'float32', **style}
    predict = conv(outputs, name=f'{name}-predict', **predicting)
    towers = {}
    for level, x in features.items():
        for i, layer in enumerate(convs):
            inputs = x
            x = batch_norm(f'{name}-{i}-bn-{level}')(layer(x))
            x = activation(act_type, f'{name}-{i}-activation-{level}')(x)
            if survival_prob and i > 0:
                x = StochasticDepth(survival_prob, name=f'{name}-{i}-drop-{level}')(x)
                x = keras.layers.Add(name=f'{name}-{i}-add-{level}')([x, inputs])
        towers[level] = predict(x)
    return towers
