"""Checks of class ids and class names."""

import collections

from keras_efficientdet.config import class_ids
from keras_efficientdet.doctor.findings import Finding

FEW = 20  # boxes of a class in training
_BACKGROUND = ('background', '__background__', '_background_', 'bg')


def check_labels(train, valid, model):
    """Findings about the ids and names of two Splits (`valid` may be None) under a ModelConfig."""
    splits = [split for split in (train, valid) if split is not None]
    findings = [
        f for split in splits if (f := _unknown_ids(split, model) or _other_names(split, model))
    ]
    findings += [f for f in (_names(model), _background(model, splits)) if f]
    if not any(f.key == 'class ids' for f in findings):
        findings += _histogram(train, valid, model)
    return findings


def check_names(label_map):
    """Findings about an {own id: name} alone."""
    empty = [i for i, name in label_map.items() if not str(name).strip() or str(name) == 'None']
    if empty:
        return [
            Finding(
                'class names',
                'warning',
                f'the classes {_some(empty)} have no name',
                'name each class in the annotations or in label_map; names travel with the model and its exports',
            )
        ]
    again = [name for name, n in collections.Counter(map(str, label_map.values())).items() if n > 1]
    if again:
        ids = [i for i, name in label_map.items() if str(name) == again[0]]
        return [
            Finding(
                'class names',
                'error',
                f'the classes {_some(ids)} have the same name {again[0]!r}',
                'merge them into one id, or give each a name of its own',
            )
        ]
    return []


def _names(model):
    if model.label_map is None:
        return Finding(
            'class names',
            'note',
            f'no label_map: the classes are called 1 to {model.num_classes}',
            'set label_map (records.label_overrides reads it from a folder of records)',
        )
    return next(iter(check_names(model.label_map)), None)


def _unknown_ids(split, model):
    ids, seen = set(class_ids(model)), {i for i, n in split.boxes_per_class.items() if n}
    unknown = seen - ids
    if not unknown:
        return None
    figure = (
        f'{split.name}: labels {_some(sorted(unknown))} are not among the {len(ids)} ids of the configuration '
        f'({_some(sorted(ids))}); the data have {_some(sorted(seen))}'
    )
    if {i + 1 for i in seen} <= ids:
        return Finding(
            'class ids',
            'error',
            f'{figure}. They are one too low: counted from 0 where the map counts from 1',
            'write the ids that label_map names, or set label_map to the ids of the data (0 is allowed)',
        )
    if {i - 1 for i in seen} <= ids:
        return Finding(
            'class ids',
            'error',
            f'{figure}. They are one too high: the largest is one beyond the last class',
            'write the ids that label_map names, or set label_map to the ids of the data',
        )
    gaps = (
        ' The ids of the data have gaps, which is fine with a label_map.'
        if max(seen) - min(seen) >= len(seen)
        else ''
    )
    return Finding(
        'class ids',
        'error',
        f'{figure}.{gaps}',
        'set label_map and num_classes to the ids of this data set (records.label_overrides gives both)',
    )


def _other_names(split, model):
    """The same id under another name: boxes would be trained as something else."""
    if model.label_map is None:
        return None
    written = {
        (i, name)
        for p in split.pictures
        for i, name in zip(p.labels, p.names, strict=False)
        if name
    }
    written |= set(split.summary.get('label_map', {}).items())
    other = sorted(
        (i, name) for i, name in written if i in model.label_map and model.label_map[i] != name
    )
    if not other:
        return None
    i, name = other[0]
    return Finding(
        'label map',
        'error',
        f'{split.name}: {len(other)} ids have another name in the data than in label_map, like '
        f'{i}: {name!r} in the data, {model.label_map[i]!r} in label_map',
        'take label_map from these records (records.label_overrides), or make both splits with one map',
    )


def _background(model, splits):
    named = [
        name for name in (model.label_map or {}).values() if name.strip().lower() in _BACKGROUND
    ]
    used = {i for split in splits for i, n in split.boxes_per_class.items() if n}
    fix = 'leave the background out: num_classes counts objects only, an anchor without an object has no class'
    if named:
        return Finding('background', 'error', f'label_map has a class {named[0]!r}', fix)
    known = {len(split.summary['label_map']) for split in splits if split.summary}
    if model.label_map is None and used and (known or {max(used)}) == {model.num_classes - 1}:
        return Finding(
            'background',
            'warning',
            f'num_classes is {model.num_classes}, the data have {model.num_classes - 1} '
            'classes: one more, as if background were counted',
            fix,
        )
    return None


def _histogram(train, valid, model):
    findings, names = [], model.label_map or {i: str(i) for i in class_ids(model)}
    for split, severity, fix in (
        (
            train,
            'warning',
            'add pictures of them, or take them out of the label map: the detector cannot learn them',
        ),
        (
            valid,
            'note',
            'their AP will be nan; move some of their pictures to the validation split',
        ),
    ):
        if (
            split is None
            or not split.pictures
            or not (split.whole or split.summary.get('boxes_per_class'))
        ):
            continue
        missing = [name for i, name in names.items() if not split.boxes_per_class[i]]
        if missing:
            findings.append(
                Finding(
                    f'classes in {split.name}',
                    severity,
                    f'{len(missing)} of {len(names)} classes have no box '
                    f'in {split.name}: {_some(missing)}',
                    fix,
                )
            )
    counts = {names[i]: n for i, n in train.boxes_per_class.items() if 0 < n < FEW and i in names}
    if counts and train.whole:
        findings.append(
            Finding(
                'rare classes',
                'note',
                f'fewer than {FEW} boxes in {train.name}: '
                + _some(
                    [f'{name} {n}' for name, n in sorted(counts.items(), key=lambda kv: kv[1])]
                ),
                'expect a low AP of these classes, or collect more of them',
            )
        )
    return findings


def _some(values, most=8):
    return ', '.join(map(str, list(values)[:most])) + (
        f' and {len(values) - most} more' if len(values) > most else ''
    )
