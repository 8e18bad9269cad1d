"""Two heads on one pyramid, trained together: the objects of the first, the mask of the second."""

import dataclasses

from keras_efficientdet.network.heads.head import Head


def joined(first: Head, second: Head, of_second: tuple[str, ...]) -> Head:
    """A head with the outputs, targets and losses of both.

    Detections, metrics and whatever else a head has are those of `first`, masks those of `second`.
    The outputs of each are divided by its own number of positives.

    Args:
      of_second: names of the outputs of `second`; all others are those of `first`.
    """

    def build(features, config):
        return {**first.build(features, config), **second.build(features, config)}

    def targets(config):
        encoders = [(head, head.targets(config)) for head in (first, second)]

        def encode_example(boxes, classes, **annotations):
            encoded = {}
            for head, encode in encoders:
                own = {name: annotations[name] for name in head.annotations}
                encoded |= encode(boxes, classes, **own)[0]
            return encoded, positives(encoded)

        return encode_example

    def owner(output):
        return second if output in of_second else first

    def positives(targets):
        return {name: owner(name).positives(targets) for name in targets}

    def divisor(positives):
        return {name: owner(name).divisor(count) for name, count in positives.items()}

    def losses(config):
        pairs = zip(first.losses(config), second.losses(config), strict=True)
        return tuple({**mine, **other} for mine, other in pairs)

    return dataclasses.replace(
        first,
        build=build,
        targets=targets,
        losses=losses,
        positives=positives,
        divisor=divisor,
        annotations=(*first.annotations, *second.annotations),
        mask=second.mask,
    )
