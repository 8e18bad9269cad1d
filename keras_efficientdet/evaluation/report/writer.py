"""`write_report`: one evaluation, and everything that can be shown of it."""

import datetime
import io
import os
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
from keras_efficientdet.evaluation.mask_metrics import mask_counts
from keras_efficientdet.evaluation.report.confusion import confusion
from keras_efficientdet.evaluation.report.curves import f1_confidence, precision_recall
from keras_efficientdet.evaluation.report.gallery import gallery
from keras_efficientdet.evaluation.report.learning_curves import learning_curves
from keras_efficientdet.evaluation.report.mask_gallery import mask_gallery
from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.drawing import grid
from keras_efficientdet.network.heads import has_masks

EXHIBITS = 6  # of the worst images, and of random ones
PAGE = 'report.html'
_LEGEND = (
    'Green: a box that was found. Blue: a box that was missed. Red: a detection without a box, '
    'with its class and score.'
)


def write_report(
    model,
    data,
    output_dir: str | os.PathLike,
    *,
    config: Config | None = None,
    log_file: str | os.PathLike | None = None,
    train=None,
    names: tuple | None = None,
    progress: bool = True,
) -> dict:
    """Evaluates once and writes report.html, a self-contained file, and its images beside it.

    The page has the settings that differ from the defaults of the model, learning curves, COCO
    metrics, a table of the classes, precision over recall, F1 over the score with the best
    thresholds, the confusion matrix, kinds of errors, and the worst and some random images.
    Confusions and errors are counted at the score with the best mean F1.

    An older report in the folder is replaced. Nothing is written before all of it is made.

    Args:
      model: as of `evaluate`.
      data: what `data.cache.records_of` takes.
      output_dir: a folder; created if it does not exist.
      config: default: the one that the model carries.
      log_file: the log.csv of `fit`, for the learning curves.
      train: the TFRecords that were trained on, for their summary.
      names: what the page calls (data, train); default: themselves.
      progress: whether to show a progress bar.
    Returns:
      The metrics, as `evaluate` returns them.
    """
    config = config or model.detection_config
    titles = [_title(place) for place in names or (data, train)]
    data = records_of(data, masks=has_masks(config))
    batches = dataset(data, config, training=False)
    masks = mask_counts(config)
    truth, found = evaluation.collect(model, batches, config, progress=progress, masks=masks)
    results = _Results(config, truth, found, masks)
    plots = _plots(results, log_file)
    galleries = _galleries(data, results, masks)
    sections = {
        **_data_sections(results, titles, train),
        **_result_sections(results, plots, galleries),
    }
    subtitle = f'{datetime.datetime.now():%Y-%m-%d %H:%M}, {len(truth)} images'
    text = page.page(f'{config.model.name} on {titles[0]}', subtitle, sections)
    content = text.encode(errors='backslashreplace')  # file names may hold what is not Unicode
    _write(pathlib.Path(output_dir), {**plots, **_sheets(galleries), PAGE: content})
    return results.metrics


class _Results:
    """What an evaluation gave, and what follows from it."""

    def __init__(self, config, truth, found, masks=None):
        self.config = config
        self.truth = truth
        self.run = evaluation.coco_run(truth, found, evaluation.label_map_of(config))
        others = evaluation.other_metrics(truth, found, config, masks)
        self.metrics = {**others, **evaluation.metrics_of(self.run)}
        self.matches = analysis.matches_of(self.run)
        self.scores = analysis.scores_of(self.matches)
        self.threshold = self.scores.threshold


def _plots(results, log_file):
    """{file name: bytes of a PNG}"""
    matches, threshold = results.matches, results.threshold
    figures = {'learning.png': learning_curves(log_file)} if log_file else {}
    figures['precision_recall.png'] = precision_recall(results.run, matches.names)
    figures['f1.png'] = f1_confidence(results.scores, matches.names)
    table = analysis.confusion(matches, threshold)
    figures['confusion.png'] = confusion(table, matches.names, threshold)
    files = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=130)
        files[name] = buffer.getvalue()
    return files


def _galleries(data, results, masks):
    """{'worst': [Exhibit], 'random': [Exhibit]}, and 'masks' where there are MaskCounts."""
    matches, threshold = results.matches, results.threshold
    # A fixed seed: reports of two trainings show the same images.
    some = np.random.default_rng(0).permutation(len(matches.image_ids))[:EXHIBITS]
    chosen = {
        'worst': analysis.worst_images(matches, threshold, EXHIBITS),
        'random': sorted(some.tolist()),
    }
    exhibits = {
        name: gallery(data, results.config, matches, threshold, images)
        for name, images in chosen.items()
    }
    return {**exhibits, 'masks': mask_gallery(data, results.config, masks)} if masks else exhibits


def _sheets(galleries):
    """{file name: bytes of a PNG with all images of a gallery}"""
    sheets = {}
    for name, exhibits in galleries.items():
        if exhibits:
            sheets[f'{name}.png'] = _encoded(grid([e.image for e in exhibits], 2), 'PNG')
    return sheets


def _data_sections(results, titles, train):
    base = results.config.model.name if _is_named(results.config) else 'the official defaults'
    settings = page.note(f'What differs from {base}.') + page.table(differences(results.config))
    return {
        'Settings': settings,
        'Data': page.table(_data_rows(titles, results.truth, train)),
    }


def _result_sections(results, plots, galleries):
    at = f'at score {results.threshold:.2f}'
    best = results.scores.mean.max()
    sections = {}
    if 'learning.png' in plots:
        sections['Learning curves'] = page.image(plots['learning.png'], 'log.csv, by epoch')
    others = {k: v for k, v in results.metrics.items() if k in evaluation.OTHERS}
    if others:
        sections['Metrics'] = page.table([others])
    sections['COCO metrics'] = page.table([{k: results.metrics[k] for k in evaluation.STATISTICS}])
    if 'mIoU' in results.metrics:
        sections['Masks'] = _mask_section(results.metrics, galleries['masks'])
    sections['Classes'] = _class_section(results)
    sections['Precision and recall'] = page.image(
        plots['precision_recall.png'], 'as pycocotools interpolates it'
    )
    sections['F1 and score'] = page.image(
        plots['f1.png'], f'Best mean F1 {best:.3f} {at}. Use it as min_score.'
    )
    sections['Confusion matrix'] = page.image(
        plots['confusion.png'], 'Last column: missed. Last row: false alarms.'
    )
    kinds = analysis.error_kinds(results.matches, results.threshold)
    errors = [{'error': kind, 'count': count} for kind, count in kinds.items()]
    sections[f'Errors {at}'] = page.table(errors)
    sections[f'Worst images {at}'] = _exhibition(galleries['worst'])
    sections[f'Random images {at}'] = _exhibition(galleries['random'])
    return sections


def _mask_section(metrics, exhibits):
    rows = [{'class': name, 'IoU': value} for name, value in metrics['IoU'].items()]
    figures = [
        page.image(_encoded(e.image, 'JPEG', quality=85), e.caption, 'jpeg') for e in exhibits
    ]
    return (
        page.table(rows)
        + page.note('The masks with the most errors: annotated on the left, found on the right.')
        + page.side_by_side(figures)
    )


def _class_section(results):
    rows = analysis.class_table(results.run, results.matches, results.scores)
    return page.table(rows) + page.note(
        'Threshold: the score at which F1 is best for the class. F1, precision and recall are '
        'those at this score, IoU 0.5.'
    )


def _exhibition(exhibits):
    if not exhibits:
        return page.note('no errors')
    figures = []
    for exhibit in exhibits:
        jpeg = _encoded(exhibit.image, 'JPEG', quality=85)
        figures.append(page.image(jpeg, exhibit.caption, 'jpeg'))
    return page.note(_LEGEND) + page.side_by_side(figures)


def differences(config) -> list[dict]:
    """[{'key', 'value', 'default'}] of the settings that differ from those of the named model.

    The official defaults are used where `load_config` does not have the name.
    """
    base = load_config(config.model.name) if _is_named(config) else Config()
    ours, defaults = config.to_dict(), base.to_dict()
    rows = []
    for section, values in ours.items():
        if section == 'expected':  # published results of the named model, not settings
            continue
        for key, value in values.items():
            default = defaults[section][key]
            if value != default:
                rows.append(
                    {'key': f'{section}.{key}', 'value': str(value), 'default': str(default)}
                )
    return rows


def _is_named(config):
    return config.model.name in model_names()


def _data_rows(titles, truth, train):
    boxes = [annotation for _, annotations in truth for annotation in annotations]
    crowds = sum(annotation['iscrowd'] for annotation in boxes)
    rows = [
        {
            'what': 'evaluated',
            'where': titles[0],
            'images': len(truth),
            'without boxes': sum(not annotations for _, annotations in truth),
            'boxes': len(boxes) - crowds,
            'crowds': crowds,
        }
    ]
    summary = records.summary_of(train) if train else None
    if summary:
        rows.append(
            {
                'what': 'trained on',
                'where': titles[1],
                'images': summary['images'],
                'without boxes': summary['images_without_boxes'],
                'boxes': summary['boxes'],
                'crowds': summary['crowd_boxes'],
            }
        )
    return rows


def _title(data):
    if isinstance(data, Source):
        return f'{len(data.photos)} images'
    if data is None or isinstance(data, str | os.PathLike):
        return str(data)
    return f'{len(data)} files'


def _encoded(array, kind, **settings):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **settings)
    return buffer.getvalue()


def _write(folder, files):
    """Writes {name: bytes} in order, each file whole or not at all."""
    for name, content in files.items():
        with replaced_file(folder / name) as working:
            working.write_bytes(content)
