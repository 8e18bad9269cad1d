"""Records of anything, made once: by one process, again after a change, whole or not at all."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import drawn
import numpy as np
import other_formats
import pytest
from PIL import Image

from keras_efficientdet import (
    DataError,
    dataset,
    label_overrides,
    load_config,
    read_coco,
    read_examples,
    read_folder,
)
from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.data import cache, records
from keras_efficientdet.data import record_writer as writer
from keras_efficientdet.data.pipeline import validation_dataset

PHOTOS = [
    (20, 30, [drawn.box(1, 2, 10, 8, 18)]),
    (30, 20, [drawn.box(1, 2, 10, 9, 1)]),
    (24, 24, []),
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home' / 'efficientdet' / 'records'


@pytest.fixture
def photos(tmp_path):
    """A folder with pictures in images/ and instances.json."""
    return drawn.write_coco(tmp_path / 'photos', PHOTOS)[0].parent


def test_a_folder_is_converted_once(photos, home, monkeypatch, caplog):
    caplog.set_level('INFO', 'keras_efficientdet')
    folder = cache.records_of(photos)
    assert pathlib.Path(folder).parent == home
    writer.write_records(read_folder(photos), photos.parent / 'by_hand', progress=False)
    for path in (photos.parent / 'by_hand').iterdir():
        assert (pathlib.Path(folder) / path.name).read_bytes() == path.read_bytes()
    monkeypatch.setattr(cache, 'write_records', lambda *_: pytest.fail('converted again'))
    assert cache.records_of(str(photos)) == folder == cache.records_of(photos / 'instances.json')
    reason, place = caplog.messages[:2]
    assert reason.endswith(f'read as coco, because of instances.json in {photos}')
    assert place == f'records: {folder}'


def new_box(photos):
    content = json.loads((photos / 'instances.json').read_text())
    content['annotations'][0]['bbox'][0] += 1
    (photos / 'instances.json').write_text(json.dumps(content))


def new_name(photos):
    path = photos / 'instances.json'
    path.write_text(path.read_text().replace('"van"', '"lorry"'))


def new_picture(photos):
    Image.new('RGB', (30, 20), 'blue').save(photos / 'images' / '1.png')


def new_time(photos):
    os.utime(photos / 'images' / '1.png', ns=(0, 1234))


@pytest.mark.parametrize(
    'change',
    [new_box, new_name, new_picture, new_time, None],
    ids=lambda c: getattr(c, '__name__', 'none'),
)
def test_a_changed_source_is_converted_again(photos, change):
    before = cache.records_of(photos)
    if change:
        change(photos)
    else:
        (photos / 'notes.txt').write_text('no part of the data set')
    assert (cache.records_of(photos) != before) == (change is not None)


def test_arrays_are_known_by_their_content():
    def prints(value):
        image = np.full((8, 8, 3), value, np.uint8)
        return cache.fingerprint(
            read_examples([{'image': image, 'boxes': [[1, 1, 4, 4]], 'labels': ['cat']}])
        )

    assert prints(1) == prints(1) != prints(2)


def test_records_pass_through(photos, tmp_path, home):
    folder = tmp_path / 'records'
    writer.write_records(read_folder(photos), folder, progress=False)
    files = [str(p) for p in folder.glob('*.tfrecord')]
    for data in (
        folder,
        str(folder),
        files,
        files[0],
        f'{folder}/*.tfrecord',
        str(tmp_path / 'not_there'),
        '/no/such/place',
    ):
        assert cache.records_of(data) is data
    assert not home.exists() and label_overrides(tmp_path / 'not_there') == {}


def test_folder_and_split(photos, tmp_path, caplog):
    caplog.set_level('INFO', 'keras_efficientdet')
    voc = other_formats.write_voc(read_folder(photos), tmp_path / 'voc', {'train': 2, 'val': 1})
    train, val = cache.records_of(voc / 'train'), cache.records_of(voc / 'valid')
    assert [
        json.loads((pathlib.Path(f) / 'dataset.json').read_text())['images'] for f in (train, val)
    ] == [2, 1]
    assert label_overrides(voc / 'val') == {
        'model': {'label_map': LABEL_MAPS['voc'], 'num_classes': 20}
    }
    assert any(f'{voc}, split train: read as voc' in text for text in caplog.messages)
    with pytest.raises(DataError, match="no split 'test'"):
        cache.records_of(voc / 'test')


def test_label_overrides_convert_nothing(photos, home):
    expected = {'model': {'label_map': drawn.LABELS, 'num_classes': 3}}
    for data in (photos, str(photos / 'instances.json'), read_folder(photos)):
        assert label_overrides(data) == expected
    assert not home.exists()


def test_records_that_were_opened_are_taken_everywhere(photos):
    found = records.open_records(cache.records_of(photos))
    assert cache.records_of(found) is found is records.open_records(found)
    assert (found.count, str(found)) == (3, cache.records_of(photos))
    assert label_overrides(found) == label_overrides(photos)
    config = load_config('efficientdet-lite0', [label_overrides(found), {'image_size': 64}])
    assert len(list(validation_dataset(found, config))) == 1


def test_pipelines_of_photos(photos):
    config = load_config(
        'efficientdet-lite0', [label_overrides(photos), {'image_size': 64, 'batch_size': 3}]
    )
    ((images, labels),) = dataset(photos, config, training=False)
    assert images.shape == (3, 64, 64, 3) and labels['classes'].numpy().tolist() == [[1], [0], [-1]]
    assert (
        len(dataset(read_coco(photos / 'instances.json', photos / 'images'), config, training=True))
        == 1
    )
    assert len(list(validation_dataset(photos / 'instances.json', config))) == 1


def test_a_fault_leaves_nothing(photos, home):
    (photos / 'images' / '2.png').write_text('no picture')
    with pytest.raises(DataError, match=r'2\.png: cannot be read as an image'):
        cache.records_of(photos)
    assert [p.suffix for p in home.iterdir()] == ['.lock']


_CHILD = """
import logging, os, pathlib, sys, time
from keras_efficientdet.data import cache
logging.basicConfig(level='INFO', stream=sys.stdout, format='%(message)s')
write = cache.write_records
def slowly(source, folder):
    working = pathlib.Path(f'{folder}.writing-{os.getpid()}')
    print('converting', flush=True)
    if not any(pathlib.Path('.').glob('killed')):
        working.mkdir()
        (working / 'half').touch()
        time.sleep(60)
    write(source, folder)
cache.write_records = slowly
print('ready', flush=True)
while not os.path.exists('go'):
    time.sleep(0.01)
print(cache.records_of('photos'), flush=True)
"""


def test_processes_that_start_at_once_and_one_that_is_killed(photos, home, tmp_path):
    """One converts and the others wait; it is killed, another takes over, one finds it done."""
    root = pathlib.Path(__file__).resolve().parents[1]
    environment = {**os.environ, 'PYTHONPATH': str(root), 'TF_CPP_MIN_LOG_LEVEL': '3'}
    children = [
        subprocess.Popen(
            [sys.executable, '-c', _CHILD],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=(tmp_path / f'{i}.txt').open('w'),
            stderr=subprocess.DEVNULL,
        )
        for i in range(3)
    ]

    def said():
        return [(tmp_path / f'{i}.txt').read_text() for i in range(3)]

    def wait_until(condition):
        end = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < end and not any(child.poll() for child in children), said()
            time.sleep(0.02)

    try:
        wait_until(lambda: all('ready' in text for text in said()))
        (tmp_path / 'go').touch()
        wait_until(
            lambda: (
                list(home.glob('*.writing-*/half'))
                and sum('waiting for another' in text for text in said()) == 2
            )
        )
        (tmp_path / 'killed').touch()
        (owner,) = [i for i, text in enumerate(said()) if 'converting' in text]
        children[owner].send_signal(signal.SIGKILL)
        others = [child for i, child in enumerate(children) if i != owner]
        assert [child.wait(300) for child in others] == [0, 0]
    finally:
        for child in children:
            child.kill()
            child.wait()
    survivors = [text for i, text in enumerate(said()) if i != owner]
    assert sorted('converting' in text for text in survivors) == [False, True]
    (folder,) = {text.splitlines()[-1] for text in survivors}
    assert sorted(p.name for p in home.iterdir()) == [
        pathlib.Path(folder).name,
        f'{pathlib.Path(folder).name}.lock',
    ]
    assert json.loads((pathlib.Path(folder) / 'dataset.json').read_text())['images'] == 3
