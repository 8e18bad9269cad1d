"""What a check reports: a finding with a stable id, and findings as text."""

import collections
import collections.abc
import dataclasses
import difflib
import textwrap

SEVERITIES = ('error', 'warning', 'note')
WIDTH = 100  # columns of the text form

# Every id that a check may report, with its meaning. Scripts store ids (`skip`, --json), so an id
# is never renamed and never reused for another check.
IDS = {
    'images.none': 'a split has no images',
    'images.size': 'the annotated size of an image is not its real size',
    'images.repeated_id': 'several images share one image id',
    'images.without_boxes': 'many images have no box',
    'boxes.none': 'no image of a split has a box',
    'boxes.all_crowd': 'every box is a crowd region, which training ignores',
    'boxes.format': 'so many boxes were dropped or clipped that their format must be wrong',
    'boxes.left_out': 'some boxes were dropped when the annotations were read',
    'boxes.degenerate': 'boxes have no area or are inside out',
    'boxes.repeated': 'boxes of one class are there twice',
    'boxes.two_classes': 'one box is annotated with several classes',
    'boxes.outside': 'boxes extend beyond their image',
    'boxes.normalised': 'normalised coordinates were read as pixels',
    'boxes.whole_image': 'most boxes cover their whole image',
    'boxes.too_many': 'an image has more boxes than detection returns',
    'labels.one_too_low': 'category ids are one lower than those of the configuration',
    'labels.one_too_high': 'category ids are one higher than those of the configuration',
    'labels.gap': 'category ids with gaps in their numbering are not in the configuration',
    'labels.unknown': 'category ids are not in the configuration',
    'labels.other_name': 'a category has another name in the data than in label_map',
    'labels.no_map': 'no label_map is set, so classes have no names',
    'labels.unnamed': 'a category has no name',
    'labels.repeated_name': 'several categories share one name',
    'labels.similar_names': 'names of categories differ only in case, spaces or hyphens',
    'labels.background': 'background is counted as a class',
    'labels.absent': 'a class has no box in a split',
    'labels.rare': 'a class has few boxes in the training data',
    'splits.no_validation': 'there are no validation images',
    'splits.same': 'every validation image is a training image too',
    'splits.shared': 'some validation images are training images too',
    'splits.near_duplicates': 'some validation images look like a training image',
    'anchors.coverage': 'how many boxes of each class some anchor covers',
    'settings.jitter': 'scale jitter removes most boxes',
    'settings.batch_too_large': 'one batch is larger than the training data',
    'settings.batch_too_small': 'the batch is too small for batch normalisation',
    'settings.learning_rate': 'the learning rate is outside the range known to train',
    'settings.warmup_start': 'the warm-up starts above the learning rate that it leads to',
    'settings.warmup_length': 'most of the training is warm-up',
    'settings.few_steps': 'the training has too few steps',
    'settings.batch_norm': 'batch normalisation statistics cannot settle in so few steps',
    'settings.normalisation': 'mean_rgb and stddev_rgb are not those of the backbone',
    'settings.image_size': 'the image size is not a multiple of the coarsest stride',
    'settings.freeze': 'randomly initialised layers are frozen',
    'weights.unreadable': 'the weights cannot be read',
    'weights.classes': 'the weights predict another number of classes',
    'overfit.failed': 'the self-test did not learn its few images by heart',
    'overfit.classes': 'the self-test did not learn some classes',
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
      id: key of `IDS`, area and subject separated by a dot: 'boxes.outside'.
      severity: 'error' (the result would be wrong or useless), 'warning' (it would be worse than
        it could be) or 'note' (for information).
      found: a sentence that states what was found, with its numbers.
      fix: what to do about it.
      split: the name of the data it is about ('train', 'val', or the name the caller gave), or
        None where it is about the configuration or the weights.
      numbers: the values that `found` states, by name; JSON values only.
    """

    id: str
    severity: str
    found: str
    fix: str
    split: str | None = None
    # A dict has no hash, and two findings with equal text have equal numbers.
    numbers: dict = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self):
        if self.id not in IDS:
            raise ValueError(f'Finding: id {self.id!r} is not in the table IDS of {__name__}')

    @property
    def subject(self) -> tuple[str, str | None]:
        """(id, split): equal for two findings about the same fault of the same data."""
        return self.id, self.split

    def to_dict(self) -> dict:
        """The finding as JSON values, one key for each attribute."""
        return {**dataclasses.asdict(self), 'numbers': dict(self.numbers)}


def ids_of(names: str | collections.abc.Iterable[str]) -> frozenset[str]:
    """The ids that `names` select.

    Args:
      names: ids such as 'boxes.outside', or areas such as 'boxes' for all ids of that area.
    Raises:
      ValueError: a name is neither; the message suggests the nearest.
    """
    names = [names] if isinstance(names, str) else names
    selected = set()
    for name in names:
        matching = {id_ for id_ in IDS if name in (id_, _area(id_))}
        if not matching:
            raise ValueError(f'{name!r} is not the id of a check{_nearest(name)}')
        selected |= matching
    return frozenset(selected)


def _area(id_):
    return id_.partition('.')[0]


def _nearest(name):
    known = [*IDS, *{_area(id_): None for id_ in IDS}]
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    return f'; did you mean {near[0]!r}?' if near else f'; ids are {", ".join(IDS)}'


def without(
    findings: collections.abc.Iterable[Finding], skip: str | collections.abc.Iterable[str]
) -> list[Finding]:
    """The findings whose id is not selected by `skip` (see `ids_of`)."""
    skipped = ids_of(skip)
    return [finding for finding in findings if finding.id not in skipped]


def new_findings(
    findings: collections.abc.Iterable[Finding], known: collections.abc.Iterable[Finding]
) -> list[Finding]:
    """The findings that are not yet in `known`: no other has the same id and the same split."""
    subjects = {finding.subject for finding in known}
    return [finding for finding in findings if finding.subject not in subjects]


def findings_text(findings: collections.abc.Collection[Finding]) -> str:
    """Findings as lines of text, the most severe first."""
    lines = [f'doctor: {_totals(findings)}']
    for finding in sorted(findings, key=lambda f: SEVERITIES.index(f.severity)):
        head = f'{finding.severity.upper():<8} {finding.id}: {finding.found}'
        lines += _wrapped(head, '  ')
        lines += _wrapped(f'-> {finding.fix}', ' ' * 11)
    return '\n'.join(lines)


def counted(count: int, noun: str) -> str:
    """'1 image', '2 images'"""
    return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def _totals(findings):
    """'1 error, 0 warnings, 2 notes'"""
    counts = collections.Counter(finding.severity for finding in findings)
    return ', '.join(counted(counts[severity], severity) for severity in SEVERITIES)


def _wrapped(text, indent):
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=' ' * 11, break_long_words=False
    )
