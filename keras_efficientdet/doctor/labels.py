"""Checks of category ids and class names."""

import collections
import collections.abc
import re
import unicodedata

from keras_efficientdet.config import ModelConfig, class_ids
from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.doctor.split import Split

FEW = 20  # boxes of a class in the training data below which it counts as rare
_LISTED = 8  # values that a sentence lists before it says how many more there are
_BACKGROUND = ('background', '__background__', '_background_', 'bg')
UNKNOWN_IDS = ('labels.one_too_low', 'labels.one_too_high', 'labels.gap', 'labels.unknown')
_OVERRIDES = '`keras_efficientdet.label_overrides` reads both from the data'


def check_labels(
    train: Split, valid: Split | None, model: ModelConfig, counts: bool = True
) -> list[Finding]:
    """Findings about the category ids and names of two Splits under a ModelConfig.

    `valid` may be None. counts: whether how often classes have boxes matters.
    """
    splits = [split for split in (train, valid) if split is not None]
    findings = [_unknown_ids(split, model) or _other_names(split, model) for split in splits]
    findings += [_names(model), _background(model, splits)]
    findings = [finding for finding in findings if finding]
    # With unknown ids every class would seem to be absent as well.
    if counts and not any(finding.id in UNKNOWN_IDS for finding in findings):
        findings += _class_counts(train, valid, model)
    return findings


def check_names(label_map: collections.abc.Mapping[int, str]) -> list[Finding]:
    """Findings about {category id: name} alone."""
    unnamed = [i for i, name in label_map.items() if not str(name).strip() or str(name) == 'None']
    if unnamed:
        return [
            Finding(
                'labels.unnamed',
                'warning',
                f'categories without a name: {_listed(unnamed)}',
                'name every category in the annotations or in label_map: names are stored with '
                'the model and its exports',
                numbers={'categories': unnamed},
            )
        ]
    counts = collections.Counter(map(str, label_map.values()))
    repeated = next((name for name, count in counts.items() if count > 1), None)
    if repeated is None:
        return _similar_names(label_map)
    ids = [i for i, name in label_map.items() if str(name) == repeated]
    return [
        Finding(
            'labels.repeated_name',
            'error',
            f'the categories {_listed(ids)} have the same name {repeated!r}',
            'merge them into one category, or give each its own name',
            numbers={'name': repeated, 'categories': ids},
        )
    ]


def _similar_names(label_map):
    """Names that a human takes for one: annotators type them, and a detector cannot learn both."""
    by_key = collections.defaultdict(list)
    for name in label_map.values():
        by_key[_letters(str(name))].append(str(name))
    similar = [names for names in by_key.values() if len(names) > 1]
    if not similar:
        return []
    return [
        Finding(
            'labels.similar_names',
            'warning',
            'names of categories differ only in case, spaces or hyphens: '
            + _listed(', '.join(map(repr, names)) for names in similar),
            'merge them into one category: boxes of one kind that are split over several classes '
            'count as wrong in training and evaluation',
            numbers={'names': similar},
        )
    ]


def _letters(name):
    """What is left of a name that is typed in another way, also with other code points."""
    text = unicodedata.normalize('NFKC', name).casefold()
    letters = re.sub(r'[\s_-]+', '', text)
    return letters or text


def _names(model):
    if model.label_map is not None:
        return next(iter(check_names(model.label_map)), None)
    return Finding(
        'labels.no_map',
        'note',
        f'no label_map is set: the classes are named 1 to {model.num_classes}',
        'set label_map (`keras_efficientdet.label_overrides` reads it from the data)',
        numbers={'num_classes': model.num_classes},
    )


def _unknown_ids(split, model):
    configured = set(class_ids(model))
    seen = {i for i, count in split.boxes_per_class.items() if count}
    unknown = sorted(seen - configured)
    if not unknown:
        return None
    id_, cause, fix = _cause(seen, configured)
    return Finding(
        id_,
        'error',
        f'{split.name}: the configuration lacks category ids of the data: {_listed(unknown)} '
        f'(configured: {_listed(sorted(configured))}; in the data: {_listed(sorted(seen))}){cause}',
        fix,
        split=split.name,
        numbers={'unknown': unknown, 'seen': sorted(seen), 'configured': sorted(configured)},
    )


def _cause(seen, configured):
    """(id, end of the sentence, fix) for category ids of the data that are not configured."""
    renumber = (
        'renumber the annotations to the ids of label_map, or set label_map and num_classes to '
        f'those of the data; {_OVERRIDES}'
    )
    if {i + 1 for i in seen} <= configured:
        cause = '. The ids of the data are one too low, as if they counted from 0 instead of 1'
        return 'labels.one_too_low', cause, f'{renumber} (id 0 is allowed)'
    if {i - 1 for i in seen} <= configured:
        cause = '. The ids of the data are one too high: the largest is one beyond the last class'
        return 'labels.one_too_high', cause, renumber
    set_map = f'set label_map and num_classes to the categories of this data set; {_OVERRIDES}'
    if max(seen) - min(seen) >= len(seen):
        cause = '. Gaps in the numbering are fine, but label_map must list the ids'
        return 'labels.gap', cause, set_map
    return 'labels.unknown', '', set_map


def _other_names(split, model):
    """One id with two names: boxes would be trained as another class."""
    if model.label_map is None:
        return None
    differing = sorted(
        (i, name)
        for i, name in _written_names(split)
        if i in model.label_map and model.label_map[i] != name
    )
    if not differing:
        return None
    i, name = differing[0]
    return Finding(
        'labels.other_name',
        'error',
        f'{split.name}: label_map names {len(differing)} of {len(model.label_map)} categories '
        f'differently than the data, for example id {i}: {name!r} in the data, '
        f'{model.label_map[i]!r} in label_map',
        'take label_map from the data (`keras_efficientdet.label_overrides`), and convert both '
        'splits with the same label_map',
        split=split.name,
        numbers={
            'categories': len(differing),
            'id': i,
            'in_data': name,
            'in_label_map': model.label_map[i],
        },
    )


def _written_names(split):
    """{(category id, name)} that the records state."""
    written = set(split.summary.get('label_map', {}).items())
    for image in split.images:
        # Names are optional in records: there may be fewer than labels.
        pairs = zip(image.labels, image.names, strict=False)
        written |= {(i, name) for i, name in pairs if name}
    return written


def _background(model, splits):
    fix = (
        'remove the background class: num_classes counts object classes only, and an anchor '
        'without an object has no class'
    )
    names = (model.label_map or {}).values()
    background = next((name for name in names if name.strip().lower() in _BACKGROUND), None)
    if background is not None:
        return Finding(
            'labels.background',
            'error',
            f'label_map has a class {background!r}',
            fix,
            numbers={'name': background},
        )
    count = _categories(splits)
    if model.label_map is not None or count != model.num_classes - 1:
        return None
    return Finding(
        'labels.background',
        'warning',
        f'num_classes is {model.num_classes}, but the data have {count} categories: one less, as '
        'if background were counted',
        fix,
        numbers={'num_classes': model.num_classes, 'categories': count},
    )


def _categories(splits):
    """Number of categories of the data: of the summaries, else the largest id; None if unclear."""
    counts = {len(split.summary['label_map']) for split in splits if split.summary}
    used = {i for split in splits for i, count in split.boxes_per_class.items() if count}
    if not used:
        return None
    if not counts:
        return max(used)
    return counts.pop() if len(counts) == 1 else None


def _class_counts(train, valid, model):
    names = model.label_map or {i: str(i) for i in class_ids(model)}
    findings = [
        _absent(
            train,
            names,
            'warning',
            'add images of them or remove them from label_map: the detector cannot learn a class '
            'without boxes',
        ),
        _absent(
            valid,
            names,
            'note',
            'their AP will be nan: move some of their images to the validation split',
        ),
        _rare(train, names),
    ]
    return [finding for finding in findings if finding]


def _absent(split, names, severity, fix):
    if split is None or not split.images:
        return None
    # Part of the images proves nothing: the boxes of a class may be in the rest.
    if not (split.whole or split.summary.get('boxes_per_class')):
        return None
    absent = [str(name) for i, name in names.items() if not split.boxes_per_class[i]]
    if not absent:
        return None
    return Finding(
        'labels.absent',
        severity,
        f'{split.name}: no box for {len(absent)} of {len(names)} classes: {_listed(absent)}',
        fix,
        split=split.name,
        numbers={'absent': len(absent), 'classes': len(names), 'names': absent},
    )


def _rare(train, names):
    if not train.whole:
        return None
    counts = train.boxes_per_class
    rare = sorted((counts[i], str(name)) for i, name in names.items() if 0 < counts[i] < FEW)
    if not rare:
        return None
    listed = _listed([f'{name} ({count})' for count, name in rare])
    return Finding(
        'labels.rare',
        'note',
        f'{train.name}: fewer than {FEW} boxes for {listed}',
        'collect more boxes of them, or expect a low AP',
        split=train.name,
        numbers={'boxes_per_class': {name: count for count, name in rare}},
    )


def _listed(values):
    values = [str(value) for value in values]
    rest = len(values) - _LISTED
    shown = ', '.join(values[:_LISTED])
    return f'{shown} and {rest} more' if rest > 0 else shown
