"""A small data set without faults, and ways to plant one fault in it, for tests of the doctor."""

import dataclasses
import json
import re

import drawn
import numpy as np

from keras_efficientdet import load_config, read_coco, write_records
from keras_efficientdet.doctor import findings_text

LABELS = {1: 'cat', 2: 'dog', 3: 'van'}
SETTINGS = {
    'image_size': 128,
    'batch_size': 8,
    'optimizer': 'adam',
    'learning_rate': 0.01,
    'lr_warmup_init': 1e-4,
    'jitter_min': 0.8,
    'jitter_max': 1.25,
    'num_epochs': 200,
}


def images(count, seed):
    """[(height, width, three boxes, one of each class)] of `count` images that look different."""
    rng = np.random.default_rng(seed)

    def place(side):
        return [int(v) for v in rng.uniform(2, 60, 2)] + [side, side]

    return [
        (100, 150, [drawn.box(*place(int(rng.integers(24, 38))), k) for k in LABELS])
        for _ in range(count)
    ]


def sources(make_folder):
    """{'train': Source of 24 images, 'val': Source of 8}, both without faults.

    make_folder: a function from a name to an empty folder.
    """
    return {
        name: read_coco(*drawn.write_coco(make_folder(name), images(count, count), LABELS))
        for name, count in (('train', 24), ('val', 8))
    }


def written(source, folder):
    """The folder of the Source's records."""
    write_records(source, folder, progress=False)
    return folder


def configured(**change):
    """A Config that fits the data."""
    return load_config(
        'efficientdet-lite0', [SETTINGS, {'model': {'label_map': LABELS, 'num_classes': 3}}, change]
    )


def alarms(findings):
    return [f for f in findings if f.severity != 'note']


def changed(source, **fields):
    """The Source whose photos have other fields: {name: function of the photo}."""
    made = [
        dataclasses.replace(p, **{name: value(p) for name, value in fields.items()})
        for p in source.photos
    ]
    return dataclasses.replace(source, photos=made)


def moved(source, change):
    """The Source with `change(boxes, photo)` in place of the boxes."""
    return changed(source, boxes=lambda p: np.asarray(change(p.boxes, p), float).reshape(-1, 4))


def relabelled(source, ids, names=LABELS):
    """The Source with other ids: {id: id}."""
    made = [dataclasses.replace(p, ids=tuple(ids.get(i, i) for i in p.ids)) for p in source.photos]
    return dataclasses.replace(
        source, photos=made, label_map={ids.get(i, i): name for i, name in names.items()}
    )


def only(source, keep):
    """The Source without the boxes of classes that are not in `keep`."""

    def rows(values, p):
        return tuple(v for v, i in zip(values, p.ids, strict=True) if i in keep)

    return changed(
        source,
        boxes=lambda p: np.reshape(rows(p.boxes, p), (-1, 4)),
        ids=lambda p: rows(p.ids, p),
        areas=lambda p: rows(p.areas, p),
        crowd=lambda p: rows(p.crowd, p),
    )


def first(source, count, change):
    """The Source whose first `count` photos are those of `change(Source of them)`."""
    some = change(dataclasses.replace(source, photos=source.photos[:count]))
    return dataclasses.replace(source, photos=[*some.photos, *source.photos[count:]])


def without_boxes(source):
    return only(source, ())


def all_crowds(source):
    return changed(source, crowd=lambda p: (True,) * len(p.ids))


def counted_from_0(source):
    return relabelled(source, {1: 0, 2: 1, 3: 2})


def check(findings, id, severity, found, fix, beside=()):
    """Exactly the finding `id` is there, and nothing else but notes and what `beside` lists.

    Returns: the finding.
    """
    text = findings_text(findings)
    assert {f.id for f in alarms(findings)} <= {id, *beside}, text
    first = next((f for f in findings if f.id == id), None)
    assert first, text
    assert first.severity == severity, text
    assert found in first.found, text
    assert fix in first.fix, text
    for finding in findings:
        check_form(finding)
    return first


def check_form(finding):
    """A finding can be written as JSON, and the split that its text begins with is its own."""
    row = finding.to_dict()
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    beginning = re.match(r'(train|val): ', finding.found)
    if beginning:
        assert finding.split == beginning[1]
