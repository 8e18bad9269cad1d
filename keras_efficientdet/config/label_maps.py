"""Label maps: the category ids of a data set and their class names, in class order."""

import numbers
from collections.abc import Iterable, Iterator, Mapping

from keras_efficientdet.errors import ConfigError


class LabelMap(Mapping):
    """A read-only mapping {category id: class name}; its order is the class order.

    Class k of the network is the k-th item, so two maps with the same items in another order stand
    for different models: they are unequal and hash differently. A LabelMap equals a dict with the
    same items in the same order.

    Args:
      classes: {id: name}, or a sequence of [id, name] or of {'id': id, 'name': name}. Ids may be
        text, since json turns the keys of a mapping into text.
    Raises:
      ConfigError: not of this form, or an id occurs twice.
    """

    def __init__(self, classes: Mapping | Iterable):
        pairs = [(_category_id(i, classes), str(name)) for i, name in _pairs(classes)]
        self._names = dict(pairs)
        if len(self._names) != len(pairs):
            ids = [i for i, _ in pairs]
            again = sorted({i for i in ids if ids.count(i) > 1})
            raise ConfigError(
                f'label_map: ids must be unique, found {again} more than once; '
                'give each class an id of its own'
            )

    def __getitem__(self, category_id: int) -> str:
        return self._names[category_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return list(self.items()) == list(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return f'LabelMap({self._names})'

    def to_list(self) -> list:
        """[[id, name], ...] in class order: yaml and json keep the order of lists, not of keys."""
        return [[i, name] for i, name in self.items()]


def _pairs(classes):
    if isinstance(classes, Mapping):
        return list(classes.items())
    if not isinstance(classes, list | tuple):
        raise _wrong_form(classes)
    return [_pair(entry, classes) for entry in classes]


def _pair(entry, classes):
    if isinstance(entry, Mapping) and {'id', 'name'} <= set(entry):  # as in COCO's `categories`
        return entry['id'], entry['name']
    if isinstance(entry, list | tuple) and len(entry) == 2:
        return entry
    raise _wrong_form(classes)


def _category_id(value, classes):
    is_text = isinstance(value, str) and value.removeprefix('-').isdecimal()
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_text and not is_whole:
        raise _wrong_form(classes)
    return int(value)


def _wrong_form(classes):
    return ConfigError(
        'label_map must give category ids and class names in class order, like '
        f'[[18, dog], [1, cat]] or {{18: dog, 1: cat}}, found {classes!r}'
    )


def _numbered(text):
    """{id: name}, numbered from 1; an empty place is an id without a class."""
    names = [name.strip() for name in text.split(',')]
    return {i: name for i, name in enumerate(names, 1) if name}


_COCO = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, ,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
, backpack, umbrella, , , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, , dining table, , , toilet, , tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase, scissors, teddy bear,
hair drier, toothbrush"""
_VOC = """
aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse,
motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"""

# The label maps that official configurations refer to by name: {name: {category id: class name}}.
LABEL_MAPS = {
    'coco': _numbered(_COCO),
    'voc': _numbered(_VOC),
    'waymo': _numbered('vehicle, pedestrian, cyclist'),
}


def unique_names(label_map) -> dict[int, str]:
    """{id: name} of {id: name}, with the id behind a name that several ids have."""
    names = list(label_map.values())
    return {i: f'{n} (id {i})' if names.count(n) > 1 else n for i, n in label_map.items()}
