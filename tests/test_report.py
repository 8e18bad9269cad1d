"""The report: one self-contained file, whose numbers are those of `evaluate`."""

import base64
import html.parser
import io
import re

import drawn
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import pyplot
from PIL import Image

from keras_efficientdet import dataset, evaluate, load_config
from keras_efficientdet.data import records
from keras_efficientdet.errors import DataError
from keras_efficientdet.evaluation import analysis
from keras_efficientdet.evaluation.coco import coco_run
from keras_efficientdet.evaluation.report import write_report
from keras_efficientdet.evaluation.report.confusion import confusion
from keras_efficientdet.evaluation.report.curves import f1_confidence, precision_recall
from keras_efficientdet.evaluation.report.gallery import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    SIDE,
    images_by_id,
    marked,
)
from keras_efficientdet.evaluation.report.writer import differences

EMPTY_TAGS = {'meta', 'img'}


class Page(html.parser.HTMLParser):
    """Reads a page: text, tags, attributes; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ('src', 'href')]
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def detect(images, scale):
    """Two detections in each image: where the dog is, if there is one, and a cat where none is."""
    count = len(images)
    return {
        'boxes': tf.tile([[[6.0, 8.0, 46.0, 38.0], [0.0, 30.0, 20.0, 60.0]]], [count, 1, 1]),
        'scores': tf.tile([[0.9, 0.4]], [count, 1]),
        'classes': tf.tile([[1, 0]], [count, 1]),
        'count': tf.fill([count], 2),
    }


@pytest.fixture(scope='module')
def made(small_config, tmp_path_factory):
    """(folder of a report, its metrics, records, config) of seven images."""
    folder = tmp_path_factory.mktemp('report')
    images = [
        (60 + 10 * i, 90, [drawn.box(8, 6, 30, 40, 18), drawn.box(50, 10, 20, 20, 1)][: i % 3])
        for i in range(7)
    ]
    labels = {1: 'cat <b>&', 18: 'dog', 400: 'van'}
    records = drawn.records(folder, images, labels)
    (folder / 'log.csv').write_text(
        'epoch,loss,val_AP,learning_rate\n1,2.0,,0.1\n2,1.5,0.25,0.05\n'
    )
    config = load_config(small_config, {'label_map': labels, 'learning_rate': 0.123})
    metrics = write_report(
        detect,
        records,
        folder / 'out',
        config=config,
        log_file=folder / 'log.csv',
        train=records,
        progress=False,
    )
    return folder / 'out', metrics, records, config


def test_the_page_is_whole_and_needs_nothing_else(made):
    text = (made[0] / 'report.html').read_text()
    page = Page(text)
    assert not re.search(r'url\(|@import|https?:', text)
    assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)
    assert page.sources and page.tags.count('img') == len(page.sources)
    kinds = []
    for source in page.sources:
        kind, data = re.fullmatch(r'data:image/(png|jpeg);base64,(.+)', source).groups()
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert picture.format.lower() == kind and min(picture.size) > 100
        kinds.append(kind)
    assert kinds.count('png') == 4 and 6 < kinds.count('jpeg') <= 12


def test_the_page_shows_what_was_trained_and_reached(made):
    folder, metrics, records, config = made
    page = Page((folder / 'report.html').read_text())
    text = ' '.join(page.text)
    for wanted in (
        'train.learning_rate',
        '0.123',
        'cat <b>&',
        str(records),
        'Learning curves',
        'Worst images',
        '7 images',
    ):
        assert wanted in text
    np.testing.assert_equal(
        metrics, evaluate(detect, dataset(records, config, training=False), config, progress=False)
    )
    assert 0.3 < metrics['AP'] < 0.5  # the dogs are found, the cats are not
    assert all(f'{metrics[name]:.3f}' in page.text for name in ('AP', 'AR1', 'AR100'))
    assert f'{metrics["per_class"]["dog"]["AP50"]:.3f}' in page.text


def test_the_folder_holds_whole_images_and_is_replaced(made):
    folder, _, records, config = made
    wanted = {
        'report.html',
        'learning.png',
        'precision_recall.png',
        'f1.png',
        'confusion.png',
        'worst.png',
        'random.png',
    }
    assert {p.name for p in folder.iterdir()} == wanted
    for path in folder.glob('*.png'):
        assert np.ptp(np.asarray(Image.open(path).convert('L'))) > 100, path
    (folder / 'report.html').write_text('an old report')
    write_report(
        # The last letter is one that Windows wrote in its own encoding.
        *(detect, records, folder),
        config=config,
        progress=False,
        names=('my photos/val\udcfc', None),
    )
    text = (folder / 'report.html').read_text()
    assert 'Learning curves' not in text and len(list(folder.iterdir())) == len(wanted)
    assert (
        ' on my photos/val\\udcfc' in text
        and str(records) not in text
        and re.search(r'image \d \(\d\.png\): ', text)
    )


def test_no_report_where_there_is_no_data(small_config, tmp_path):
    with pytest.raises(DataError, match='no TFRecord files'):
        write_report(detect, tmp_path / 'nothing', tmp_path / 'out', config=small_config)
    assert list(tmp_path.iterdir()) == []


def test_differences_are_those_from_the_named_model():
    config = load_config('efficientdet-lite0', {'anchor_scale': 2.0, 'optimizer': 'adam'})
    assert differences(config) == [
        {'key': 'model.anchor_scale', 'value': '2.0', 'default': '3.0'},
        {'key': 'train.optimizer', 'value': 'adam', 'default': 'sgd'},
    ]
    assert {'key': 'model.name', 'value': 'my own', 'default': 'efficientdet-d0'} in differences(
        load_config('efficientdet-d0', {'name': 'my own'})
    )


def evaluation(classes):
    """(run, matches) of one image with a found box, a missed box and a false alarm of class 1."""

    def row(x, **more):
        return {'category_id': 1, 'bbox': [x, 10, 20, 30], 'iscrowd': 0, 'area': 600, **more}

    found = [
        {'image_id': 5, 'category_id': 1, 'bbox': [x, 10, 20, 30], 'score': score}
        for x, score in ((11, 0.9), (90, 0.8))
    ]
    run = coco_run(
        [(5, [row(10), row(50)])], found, {i: f'class {i}' for i in range(1, classes + 1)}
    )
    return run, analysis.matches_of(run)


def test_only_the_images_that_are_shown_are_decoded(tmp_path, small_config):
    data = drawn.records(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])] * 4)
    file = records.record_files(data)[0]
    examples = [tf.train.Example.FromString(s.numpy()) for s in tf.data.TFRecordDataset(file)]
    for example in examples[::2]:  # the first and third cannot be decoded
        example.features.feature['image/encoded'].bytes_list.value[:] = [b'no image']
    with tf.io.TFRecordWriter(file) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    found = images_by_id(data, small_config, {2, 4})
    assert sorted(found) == [2, 4] and found[2][0].shape == (20, 30, 3)
    assert found[4][1] == '4.png'


def test_marks_are_where_the_errors_are():
    drawn_image = marked(np.full((60, 120, 3), 128, np.uint8), evaluation(1)[1], 0.5, 0)
    assert drawn_image.shape == (SIDE // 2, SIDE, 3)
    factor = SIDE / 120
    for x, tint in ((10, FOUND), (50, MISSED), (90, FALSE_ALARM)):
        middle, side = round(25 * factor), round(x * factor)
        assert np.all(drawn_image[middle, side - 2 : side + 4] == tint, -1).any(), x
    none = marked(np.full((60, 120, 3), 128, np.uint8), evaluation(1)[1], 0.95, 0)
    assert not np.all(none == FOUND, -1).any() and not np.all(none == FALSE_ALARM, -1).any()
    assert np.all(none == MISSED, -1).sum() > np.all(drawn_image == MISSED, -1).sum()


@pytest.mark.parametrize('classes', [1, 20, 90])
def test_figures_for_any_number_of_classes(classes):
    run, matches = evaluation(classes)
    scores = analysis.scores_of(matches)
    recall, f1 = precision_recall(run, matches.names), f1_confidence(scores, matches.names)
    assert [len(axis.get_legend().get_texts()) for axis in recall.axes] == [
        2 if classes == 1 else 1
    ] * 2
    np.testing.assert_allclose(f1.axes[0].lines[-2].get_ydata(), scores.mean)
    table = analysis.confusion(matches, 0.5)
    figure = confusion(table, matches.names, 0.5)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ([] if classes == 90 else ['0.50\n(1)', '0.50\n(1)', '1.00\n(1)'])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0, [0, -1]], [0.5, 0.5])
    figure.savefig(io.BytesIO(), dpi=40)
    assert not pyplot.get_fignums()
