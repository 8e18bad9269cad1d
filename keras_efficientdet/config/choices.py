"""The names that a configuration key can choose from. The code behind each name is elsewhere."""

import collections
import typing

# EfficientNet by name: (width, depth), the factors of B0 (EfficientNet paper, table 2).
SCALINGS = {
    'efficientnet-b0': (1.0, 1.0),
    'efficientnet-b1': (1.0, 1.1),
    'efficientnet-b2': (1.1, 1.2),
    'efficientnet-b3': (1.2, 1.4),
    'efficientnet-b4': (1.4, 1.8),
    'efficientnet-b5': (1.6, 2.2),
    'efficientnet-b6': (1.8, 2.6),
    'efficientnet-b7': (2.0, 3.1),
    'efficientnet-b8': (2.2, 3.6),
    'efficientnet-l2': (4.3, 5.3),
    'efficientnet-lite0': (1.0, 1.0),
    'efficientnet-lite1': (1.0, 1.1),
    'efficientnet-lite2': (1.1, 1.2),
    'efficientnet-lite3': (1.2, 1.4),
    'efficientnet-lite4': (1.4, 1.8),
}
# Networks of `keras.applications`; 'own' is one that was given to `efficientdet` as a model.
APPLICATIONS = (
    *('ResNet50', 'ResNet101', 'ResNet152', 'ResNet50V2', 'ResNet101V2', 'ResNet152V2'),
    *('MobileNet', 'MobileNetV2', 'MobileNetV3Small', 'MobileNetV3Large'),
    *('DenseNet121', 'DenseNet169', 'DenseNet201', 'VGG16', 'VGG19'),
    *('EfficientNetV2B0', 'EfficientNetV2B1', 'EfficientNetV2B2', 'EfficientNetV2B3'),
    *('EfficientNetV2S', 'EfficientNetV2M', 'EfficientNetV2L'),
    *('ConvNeXtTiny', 'ConvNeXtSmall', 'ConvNeXtBase', 'ConvNeXtLarge'),
)
# A view: a row that is added to SCALINGS is a choice at once.
BACKBONES: collections.ChainMap[str, typing.Any] = collections.ChainMap(
    dict.fromkeys((*APPLICATIONS, 'own')), SCALINGS
)

# {name: network.heads.Head}, filled by network.heads, which imports every head.
HEADS = {}

# The names of what other rooms implement; a test holds each tuple equal to its implementations.
ACTIVATIONS = ('swish', 'silu', 'swish_native', 'relu', 'relu6', 'hswish', 'mish', 'srelu')
AUTOAUGMENT_POLICIES = ('v0', 'v1', 'v2', 'v3', 'randaug')
DECAYS = ('cosine', 'stepwise', 'polynomial', 'constant')
FUSIONS = ('fastattn', 'channel_fastattn', 'attn', 'channel_attn', 'sum')
IOU_LOSSES = ('iou', 'giou', 'diou', 'ciou')
NMS_METHODS = ('gaussian', 'hard', 'linear', 'diou')  # the last two: only in ops/numpy_nms.py
OPTIMIZERS = ('sgd', 'adam')
POINT_CELLS = ('level', 'image')  # network/heads/points.py
POINT_LOSSES = ('bce', 'l1')
PRECISIONS = ('mixed_float16', 'mixed_bfloat16')  # Keras' own names
RESIZES = ('pad', 'crop')  # ops/images.py
# 'upsampling': one fine level by transposed convolutions. 'none': the head is on the backbone.
PYRAMIDS = ('bifpn', 'qufpn', 'fpn', 'panet', 'upsampling', 'none')
