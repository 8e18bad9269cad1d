"""The command line tools as users start them: as processes of their own, or where that would take long in this one."""

import csv
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import drawn
import little
import numpy as np
import other_formats
import planted
import pytest
import yaml
from absl import flags
from PIL import Image

from keras_efficientdet import (
    DataError,
    Detector,
    load_config,
    read_coco,
    read_labels,
    write_records,
)

TOOLS = pathlib.Path(__file__).resolve().parents[1] / 'tools'
LITTLE = {'image_size': [96, 128], 'num_classes': 3, 'label_map': drawn.LABELS, 'batch_size': 2}


def start(tool, *flags, cwd=None):
    environment = {k: v for k, v in os.environ.items() if k != 'KERAS_EFFICIENTDET_TRACEBACK'}
    return subprocess.run(
        [sys.executable, str(TOOLS / f'{tool}.py'), *map(str, flags)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


def worked(tool, *flags):
    done = start(tool, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def inside(monkeypatch, tmp_path):
    """The function (tool, flags): runs a tool's `main` in this process, with a cache of records of its own."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'home'))
    others = set(flags.FLAGS)

    def call(tool, *given):
        spec = importlib.util.spec_from_file_location(f'tool_{tool}', TOOLS / f'{tool}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        flags.FLAGS([tool, *map(str, given)])
        try:
            module.main([tool])
        finally:
            for name in set(flags.FLAGS) - others:
                delattr(flags.FLAGS, name)

    return call


@pytest.mark.parametrize(
    'tool',
    [
        'make_records',
        'doctor',
        'train',
        'evaluate',
        'detect',
        'export',
        'serve',
        'benchmark',
        'show_batch',
    ],
)
def test_help_shows_the_example_and_its_flags(tool):
    done = start(tool, '--help')
    assert f'python tools/{tool}.py --' in done.stdout and 'Traceback' not in done.stderr
    example = done.stdout.partition('flags:')[0]
    listed = done.stdout.partition('flags:')[2].replace('--[no]', '--')
    flags = {word.partition('=')[0] for word in example.split() if word.startswith('--')}
    assert len(flags) >= 2 and all(f'  {flag}:' in listed for flag in flags)


@pytest.mark.parametrize(
    ('tool', 'flags', 'named'),
    [
        (
            'make_records',
            ['--annotations=nowhere.json', '--images=.', '--output=out'],
            'nowhere.json: no such annotation file',
        ),
        (
            'make_records',
            ['--input=.', '--format=voc', '--output=out'],
            '.: no voc data set; looked for coco',
        ),
        ('doctor', ['--set=batch_size=8'], 'give --train, or --annotations and --images'),
        (
            'train',
            ['--train=no_records', '--valid=v', '--workdir=w', '--set=learning_rat=1'],
            'did you mean train.learning_rate?',
        ),
        (
            'train',
            ['--train=no_records', '--valid=v', '--workdir=w', '--hparams=learning_rat=1'],
            'unknown official key',
        ),
        (
            'train',
            [
                '--train=no_records',
                '--valid=v',
                '--workdir=w',
                '--auto_batch',
                '--set=batch_size=8',
            ],
            '--auto_batch chooses',
        ),
        (
            'train',
            ['--train=no_records', '--valid=v', '--workdir=w', '--recipe=finetune'],
            '--recipe=finetune starts from weights',
        ),
        ('evaluate', ['--model=no_model', '--data=d'], 'no_model/config.yaml: not there'),
        (
            'detect',
            ['--model=m', '--images=no_photos/*.jpg', '--output=o'],
            'no_photos/*.jpg: no pictures there',
        ),
        ('export', ['--model=no_model', '--output=o'], 'no_model/config.yaml: not there'),
        (
            'export',
            ['--model=m', '--output=o', '--format=onnx', '--data=d'],
            '--data does not go with --format=onnx',
        ),
    ],
    ids=[
        'make_records',
        'format',
        'doctor',
        'train',
        'hparams',
        'auto_batch',
        'recipe',
        'evaluate',
        'detect',
        'export',
        'export flags',
    ],
)
def test_bad_input_is_one_line_and_status_1(tool, flags, named, tmp_path):
    done = start(tool, *flags, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith('error: ') and named in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('given', 'named'),
    [
        (
            [
                '--list=l',
                '--runner=DirectRunner',
                '--shard=1/2',
                '--csv',
                '--draw=false',
                '--part_size=5',
                '--workers=1',
            ],
            '--shard, --csv, --part_size, --workers, --draw: does not go with --runner',
        ),
        (
            ['--images=film.mp4', '--shard=1/2', '--nodraw'],
            '--shard, --draw: does not go with a video',
        ),
        (
            ['--images=a.png', '--beam_option=--x=1'],
            '--beam_option: does not go with a run without --runner',
        ),
    ],
    ids=['runner', 'video', 'pictures'],
)
def test_flags_of_detect_that_would_do_nothing_are_refused(inside, given, named):
    with pytest.raises(ValueError, match=named):
        inside('detect', '--model=m', '--output=o', *given)


def test_make_records_finds_the_format(tmp_path):
    annotations, images = drawn.write_coco(
        tmp_path / 'photos', [(20, 30, [drawn.box(1, 2, 3, 4)])] * 2
    )
    said = worked(
        'make_records',
        f'--input={tmp_path / "photos"}',
        f'--output={tmp_path / "found"}',
        '--workers=1',
    )
    assert (
        'read as coco, because of instances.json in' in said
        and '2 images (0 without boxes), 2 boxes' in said
    )
    write_records(read_coco(annotations, images), tmp_path / 'named', workers=3, progress=False)
    for path in (tmp_path / 'found').iterdir():
        assert path.read_bytes() == (tmp_path / 'named' / path.name).read_bytes()


def test_the_doctor_looks_at_annotations_before_they_become_records(
    inside, sources, tmp_path, capsys
):
    """Such annotations do not become records; the doctor says so of both splits all the same."""
    lying = planted.changed(sources['train'], height=lambda p: p.width, width=lambda p: p.height)
    folder = other_formats.write_voc(lying, tmp_path / 'voc', {'train': 20, 'val': 4})
    with pytest.raises(DataError, match='the picture is 150x100'):
        inside('doctor', f'--train={folder}/train', f'--valid={folder}/val', '--fast')
    said = capsys.readouterr().out
    assert 'voc, split train: read as voc' in said
    for split, count in (('train', 20), ('val', 4)):
        assert (
            said.count(
                f'ERROR    images.size: {split}: height and width are swapped in {count} of {count} images'
            )
            == 1
        )


def test_the_doctor_says_the_same_of_annotations_and_records_once(
    inside, sources, tmp_path, capsys
):
    corners = planted.moved(
        sources['train'],
        lambda b, p: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1),
    )
    folder = other_formats.write_yolo(corners, tmp_path / 'photos')
    with pytest.raises(SystemExit) as stopped:
        inside('doctor', f'--train={folder}/train', '--fast')
    said = capsys.readouterr().out
    assert stopped.value.code is True
    assert (
        said.count('ERROR    boxes.format: train: ')
        == said.count('ERROR    splits.no_validation')
        == 1
    )


def test_training_from_a_yolo_folder(inside, sources, tmp_path, capsys):
    folder = other_formats.write_yolo(sources['val'], tmp_path / 'photos')
    settings = {key: value for key, value in little.TINY.items() if key != 'batch_size'} | {
        'num_epochs': 1
    }
    flags = (
        f'--train={folder}/train',
        f'--valid={folder}/train',
        f'--workdir={tmp_path}/run',
        '--recipe=small',
        *(f'--set={key}={value}' for key, value in settings.items()),
    )
    inside('train', '--set=batch_size=4', *flags)
    said = capsys.readouterr().out
    assert (
        'photos, split train: read as yolo' in said
        and 'recipe small:' in said
        and 'best val_AP ' in said
    )
    config = load_config(tmp_path / 'run' / 'config.yaml')
    assert (config.train.num_epochs, list(config.model.label_map.values())) == (
        1,
        ['cat', 'dog', 'van'],
    )
    assert (tmp_path / 'run' / 'report' / 'report.html').is_file() and len(
        (tmp_path / 'run' / 'log.csv').open().readlines()
    ) == 2
    shutil.rmtree(tmp_path / 'run' / 'report')  # as if it had been interrupted there
    inside('train', '--auto_batch', *flags)  # the batch of what was begun, and nothing is measured
    said = capsys.readouterr().out
    assert 'batch_size 4: as the training in ' in said and 'this training is finished' in said
    assert (tmp_path / 'run' / 'report' / 'report.html').is_file()


def test_from_photos_to_an_exported_detector(small_model, small_detector, tmp_path):
    photos = [
        (80, 120, [drawn.box(10, 10, 40, 50, 1), drawn.box(70, 20, 30, 30, 18)]),
        (60, 70, [drawn.box(5, 5, 30, 30, 400)]),
        (50, 50, []),
    ]
    annotations, folder = drawn.write_coco(tmp_path, photos)
    said = worked(
        'make_records',
        f'--annotations={annotations}',
        f'--images={folder}',
        f'--output={tmp_path}/records',
    )
    assert '3 images (1 without boxes), 3 boxes (0 crowds)' in said and ' 400  van ' in said

    done = start(
        'doctor',
        f'--annotations={annotations}',
        f'--images={folder}',
        f'--train={tmp_path}/records',
        '--fast',
        '--set=image_size=[96,128]',
        '--set=batch_size=2',
        f'--output={tmp_path}/checkup',
    )
    assert (
        done.returncode == 1
        and 'ERROR    splits.no_validation' in done.stdout
        and 'doctor: 0 errors, 0 warnings' in done.stdout
    )
    assert np.asarray(Image.open(tmp_path / 'checkup' / 'batch.png')).shape == (640, 1920, 3)

    workdir = tmp_path / 'run'  # as `fit` leaves it
    workdir.mkdir()
    config = load_config('efficientdet-lite0', LITTLE)
    (workdir / 'config.yaml').write_text(yaml.safe_dump(config.to_dict()))
    small_model.save_weights(workdir / 'best.weights.h5')

    said = worked(
        'evaluate',
        f'--model={workdir}',
        f'--data={tmp_path}/records',
        '--set=max_nms_inputs=500',
        f'--report={tmp_path}/report',
    )
    assert said.startswith('AP 0.') and said.strip().endswith(f'{tmp_path}/report/report.html')
    assert (
        '<td>detect.max_nms_inputs</td><td>500</td>'
        in (tmp_path / 'report' / 'report.html').read_text()
    )
    assert all(f'  {name}  AP ' in said for name in ('cat', 'dog', 'van'))

    for tool, place in (
        ('evaluate', f'--data={tmp_path}/records'),
        ('export', f'--output={tmp_path}/other'),
    ):
        done = start(tool, f'--model={workdir}', place, '--set=image_size=256')
        assert (
            done.returncode == 1
            and 'error: --set: image_size cannot be changed, the network was made with'
            in done.stderr
        )

    said = worked(
        'evaluate',
        f'--model={workdir}',
        f'--data={tmp_path}/records',
        '--set=detect=fast',
        '--set=method=diou',
        '--numpy_nms',
        '--flip',
    )
    assert said.startswith('AP 0.')

    said = worked(
        'detect',
        f'--model={workdir}',
        f'--images={folder}',
        f'--output={tmp_path}/found',
        '--min_score=0.5',
    )
    rows = json.loads((tmp_path / 'found' / 'detections.json').read_text())
    assert f'{len(rows)} detections in 3 pictures' in said
    pictures = [folder / f'{i}.png' for i in (1, 2, 3)]
    expected = [found.above(0.5) for found in small_detector(pictures)]
    assert len(rows) == sum(map(len, expected)) > 0
    first = rows[0]
    assert (
        first['file_name'] == str(pictures[0])
        and first['image_id'] == 1
        and first['category_id'] in drawn.LABELS
    )
    assert first['category'] == drawn.LABELS[first['category_id']]
    ymin, xmin, ymax, xmax = expected[0].boxes[0]
    np.testing.assert_allclose(first['bbox'], [xmin, ymin, xmax - xmin, ymax - ymin], atol=0.1)
    assert first['score'] == pytest.approx(float(expected[0].scores[0]), abs=1e-3)
    sketch = np.asarray(Image.open(tmp_path / 'found' / 'drawn' / '1.png'))
    assert sketch.shape == (80, 120, 3) and np.any(sketch != np.asarray(Image.open(pictures[0])))

    (tmp_path / 'broken.jpg').write_text('no picture')
    (tmp_path / 'paths.txt').write_text('\n'.join(map(str, [*pictures, tmp_path / 'broken.jpg'])))
    flags = [
        f'--model={workdir}',
        f'--list={tmp_path}/paths.txt',
        f'--output={tmp_path}/listed',
        '--min_score=0.5',
        '--csv',
        '--draw=false',
        '--part_size=2',
    ]
    assert '2 parts: 0 were there before, 1 are missing' in worked('detect', *flags, '--shard=1/2')
    said = worked('detect', *flags, '--shard=2/2')
    assert (
        '2 parts: 1 were there before, 0 are missing' in said
        and '1 pictures could not be read' in said
    )
    assert json.loads((tmp_path / 'listed' / 'detections.json').read_text()) == rows
    assert len((tmp_path / 'listed' / 'detections.csv').read_text().splitlines()) == 1 + len(rows)
    (broken,) = json.loads((tmp_path / 'listed' / 'broken.json').read_text())
    assert (
        broken['file_name'] == str(tmp_path / 'broken.jpg')
        and 'cannot be read as a picture' in broken['error']
    )

    said = worked(
        'export',
        f'--model={workdir}',
        f'--output={tmp_path}/exported',
        '--version=3',
        '--set=max_output_size=6',
    )
    assert said.strip().splitlines()[-1] == str(tmp_path / 'exported' / '3')
    (found,) = Detector(tmp_path / 'exported')(pictures[0])
    assert len(found) == 6
    np.testing.assert_allclose(found.boxes, small_detector(pictures[0])[0].boxes[:6], atol=1e-2)

    said = worked(
        'export',
        f'--model={workdir}',
        f'--output={tmp_path}/net.tflite',
        '--format=tflite',
        '--quantization=int8',
        f'--calibration={tmp_path}/records',
        f'--data={tmp_path}/records',
    )
    assert (
        f'{tmp_path}/net.tflite' in said
        and 'form Keras  AP ' in said
        and 'form net.tflite  AP ' in said
    )
    assert [
        line.rpartition(' ')[2]
        for line in said.splitlines()
        if 'form Keras, hard NMS over all pairs' in line
    ] == ['0.0000']
    assert read_labels(tmp_path / 'net.tflite')['ids'] == list(drawn.LABELS)
    assert (tmp_path / 'net.csv').read_text().startswith('form,AP,AP50,AP75,lost AP')


def test_benchmark_writes_a_row_for_each_batch_and_a_chart(small_model, tmp_path):
    small_model.save(tmp_path / 'model.keras')
    said = worked(
        'benchmark',
        f'--model={tmp_path}/model.keras',
        f'--output={tmp_path}/out/b.csv',
        '--engines=savedmodel',
        '--batches=1,3',
        '--photo=60,90',
        '--repeats=5',
    )
    with open(tmp_path / 'out' / 'b.csv') as file:
        lines = list(csv.DictReader(file))
    assert [(line['engine'], line['batch'], line['photo']) for line in lines] == [
        ('savedmodel', n, '60x90') for n in '13'
    ]
    for line in lines:
        assert (
            0
            < float(line['net'])
            < float(line['total'])
            <= float(line['p90'])
            <= float(line['p99'])
        )
        assert float(line['pre']) > 0 and float(line['peak MB']) > 100 and line['total'] in said
    assert Image.open(tmp_path / 'out' / 'b.png').size[0] > 800
    done = start(
        'benchmark',
        f'--model={tmp_path}/model.keras',
        f'--output={tmp_path}/c.csv',
        '--engines=torch',
    )
    assert done.returncode == 1 and "error: --engines: ['torch'] not among" in done.stderr
