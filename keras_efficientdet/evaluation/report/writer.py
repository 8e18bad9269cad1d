"""`write_report`: one evaluation pass, and all that can be seen in it."""

import datetime
import io
import pathlib

import numpy as np
from PIL import Image

import keras_efficientdet.evaluation.report.html as page
from keras_efficientdet.config import Config, load_config, model_names
from keras_efficientdet.data import records
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.source import Source
from keras_efficientdet.evaluation import analysis
from keras_efficientdet.evaluation import coco as evaluation
from keras_efficientdet.evaluation.report.confusion import confusion
from keras_efficientdet.evaluation.report.curves import f1_confidence, precision_recall
from keras_efficientdet.evaluation.report.gallery import gallery
from keras_efficientdet.evaluation.report.learning_curves import learning_curves
from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.drawing import grid

PICTURES = 6  # of the worst images, and of random ones
PAGE = 'report.html'
_MARKS = 'Green: a box that was found. Blue: a box that was missed. Red: a detection without a box, with its class and score.'


def write_report(
    model, data, output_dir, *, config=None, log_file=None, train=None, names=None, progress=True
):
    """Evaluates once and writes report.html, one file that needs nothing else, and its pictures beside it.

    The page holds the settings that differ from the model's own, learning curves, COCO figures, a table of the classes,
    precision over recall, F1 over the score with the best thresholds, the confusion matrix, kinds of errors, and the worst and
    some random images. Confusions and errors are counted at the score with the best mean F1. An older report in the folder
    is replaced; nothing is written before all of it is made.

    Args:
      model: what `evaluate` takes.
      data: what `cache.records_of` takes.
      output_dir: a folder, made where it is not there.
      config: default: the one that the model carries.
      log_file: the log.csv of `fit`, for the learning curves.
      train: the TFRecords that were trained on, for their summary.
      names: what the page calls (data, train); default: themselves.
    Returns:
      the figures, as `evaluate` returns them.
    """
    names = [_name(place) for place in names or (data, train)]
    config, data = config or model.detection_config, records_of(data)
    truth, found = evaluation.collect(
        model, dataset(data, config, training=False), config, progress=progress
    )
    run = evaluation.coco_run(truth, found, evaluation.label_map_of(config))
    matches = analysis.matches_of(run)
    scores = analysis.scores_of(matches)
    plots = _plots(run, matches, scores, log_file)
    chosen = _chosen(matches, scores.threshold)
    galleries = {
        name: gallery(data, config, matches, scores.threshold, images)
        for name, images in chosen.items()
    }
    title = f'{config.model.name} on {names[0]}'
    made = f'{datetime.datetime.now():%Y-%m-%d %H:%M}, {len(truth)} images'
    text = page.page(
        title, made, _sections(config, run, truth, matches, scores, plots, galleries, names, train)
    )
    sheets = {
        f'{name}.png': _png(grid([e.picture for e in shown], 2))
        for name, shown in galleries.items()
        if shown
    }
    _write(pathlib.Path(output_dir), {**plots, **sheets, PAGE: text.encode()})
    return evaluation.metrics_of(run)


def _plots(run, matches, scores, log_file):
    """{file name: bytes of a PNG}"""
    figures = {'learning.png': learning_curves(log_file)} if log_file else {}
    figures |= {
        'precision_recall.png': precision_recall(run, matches.names),
        'f1.png': f1_confidence(scores, matches.names),
        'confusion.png': confusion(
            analysis.confusion(matches, scores.threshold), matches.names, scores.threshold
        ),
    }
    files = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=130)
        files[name] = buffer.getvalue()
    return files


def _chosen(matches, threshold):
    """{name: indices of images}"""
    count = len(matches.image_ids)
    some = np.random.default_rng(0).permutation(count)[:PICTURES]
    return {
        'worst': analysis.worst_images(matches, threshold, PICTURES),
        'random': sorted(some.tolist()),
    }


def _sections(config, run, truth, matches, scores, plots, galleries, names, train):
    figures = evaluation.metrics_of(run)
    errors = [
        {'error': kind, 'how many': n}
        for kind, n in analysis.error_kinds(matches, scores.threshold).items()
    ]
    at = f'at score {scores.threshold:.2f}'
    sections = {
        'Settings': page.note(f'What differs from {_base_name(config)}.')
        + page.table(differences(config)),
        'Data': page.table(_data(names, truth, train)),
    }
    if 'learning.png' in plots:
        sections['Learning curves'] = page.picture(plots['learning.png'], 'log.csv, epoch by epoch')
    return sections | {
        'COCO figures': page.table([{name: figures[name] for name in evaluation.STATISTICS}]),
        'Classes': page.table(analysis.class_table(run, matches, scores))
        + page.note(
            'Threshold: the score at which F1 is best for the class; F1, precision and recall are those at it, IoU 0.5.'
        ),
        'Precision and recall': page.picture(
            plots['precision_recall.png'], 'as pycocotools interpolates it'
        ),
        'F1 and score': page.picture(
            plots['f1.png'], f'Best mean F1 {scores.mean.max():.3f} {at}. Use it as min_score.'
        ),
        'Confusion matrix': page.picture(
            plots['confusion.png'], 'Last column: missed. Last row: false alarms.'
        ),
        f'Errors {at}': page.table(errors),
        f'Worst images {at}': _exhibition(galleries['worst']),
        f'Random images {at}': _exhibition(galleries['random']),
    }


def _exhibition(exhibits):
    pictures = [page.picture(_jpeg(e.picture), e.caption, 'jpeg') for e in exhibits]
    return page.note(_MARKS if pictures else 'no errors') + page.side_by_side(pictures)


def differences(config):
    """[{'key', 'value', 'default'}] of the settings that differ from those of the named model (official defaults, where the
    name is none that `load_config` knows)."""
    base = load_config(config.model.name) if config.model.name in model_names() else Config()
    ours, theirs = config.to_dict(), base.to_dict()
    return [
        {'key': f'{section}.{key}', 'value': str(value), 'default': str(theirs[section][key])}
        for section, values in ours.items()
        if section != 'expected'
        for key, value in values.items()
        if value != theirs[section][key]
    ]


def _base_name(config):
    return config.model.name if config.model.name in model_names() else 'the official defaults'


def _data(names, truth, train):
    boxes = [a for _, rows in truth for a in rows]
    crowds = sum(a['iscrowd'] for a in boxes)
    rows = [
        {
            'what': 'evaluated',
            'where': names[0],
            'images': len(truth),
            'without boxes': sum(not r for _, r in truth),
            'boxes': len(boxes) - crowds,
            'crowds': crowds,
        }
    ]
    summary = records.summary_of(train) if train else None
    if summary:
        rows.append(
            {
                'what': 'trained on',
                'where': names[1],
                'images': summary['images'],
                'without boxes': summary['images_without_boxes'],
                'boxes': summary['boxes'],
                'crowds': summary['crowd_boxes'],
            }
        )
    return rows


def _name(data):
    if isinstance(data, Source):
        return f'{len(data.photos)} photos'
    return (
        str(data) if data is None or isinstance(data, str | pathlib.Path) else f'{len(data)} files'
    )


def _png(array):
    return _encoded(array, 'PNG')


def _jpeg(array):
    return _encoded(array, 'JPEG', quality=85)


def _encoded(array, kind, **settings):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **settings)
    return buffer.getvalue()


def _write(folder, files):
    """{name: bytes} as files, each whole or not at all, the page last."""
    for name, content in files.items():
        with replaced_file(folder / name) as working:
            working.write_bytes(content)
