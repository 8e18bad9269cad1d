"""The commands that look at data: records, doctor, and what `train` sets aside for validation."""

import json
import pathlib

import drawn
import numpy as np
import other_formats
import planted
import pytest
from PIL import Image

from keras_efficientdet import DataError, read_coco, write_records
from keras_efficientdet.commands.set_aside import set_aside
from keras_efficientdet.data.cache import fingerprint
from keras_efficientdet.data.records import count_examples, record_files


def test_records_finds_the_format(inside, tmp_path, capsys):
    photos, output = tmp_path / 'photos', tmp_path / 'found'
    annotations, images = drawn.write_coco(photos, [(20, 30, [drawn.box(1, 2, 3, 4)])] * 2)
    assert inside('records', f'--input={photos}', f'--output={output}', '--workers=1') == 0
    said = capsys.readouterr().out
    assert 'read as coco, because of instances.json in' in said
    assert '2 images (0 without boxes), 2 boxes' in said
    write_records(read_coco(annotations, images), tmp_path / 'named', workers=3, progress=False)
    for path in output.iterdir():
        assert path.read_bytes() == (tmp_path / 'named' / path.name).read_bytes()


def test_records_counts_the_boxes_of_each_class(inside, tmp_path, capsys):
    photos = [(80, 120, [drawn.box(10, 10, 40, 50, 1)]), (60, 70, [drawn.box(5, 5, 30, 30, 400)])]
    annotations, images = drawn.write_coco(tmp_path, [*photos, (50, 50, [])])
    files = f'--annotations={annotations}', f'--images={images}'
    assert inside('records', *files, f'--output={tmp_path}/records') == 0
    said = capsys.readouterr().out
    assert '3 images (1 without boxes), 2 boxes (0 crowds)' in said
    assert '    400  van                             1 boxes\n' in said


def test_records_keeps_masks_where_asked_for(inside, tmp_path):
    corners = [[1, 1, 9, 1, 9, 9, 1, 9]]
    photos = [(20, 30, [drawn.box(1, 1, 8, 8, segmentation=corners)])] * 2
    drawn.write_coco(tmp_path / 'photos', photos)
    for name, flag in (('plain', '--nomasks'), ('masks', '--masks')):
        output = tmp_path / name
        assert inside('records', f'--input={tmp_path}/photos', f'--output={output}', flag) == 0
        content = b''.join(pathlib.Path(file).read_bytes() for file in record_files(output))
        assert (b'image/segmentation/class/encoded' in content) == (name == 'masks')


def test_records_of_key_points(inside, tmp_path, capsys):
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')
    table = tmp_path / 'points.csv'
    table.write_text('image,class,x,y\na.png,tip,3,4\n')
    files = f'--annotations={table}', f'--images={tmp_path}', f'--output={tmp_path}/records'
    assert inside('records', *files, '--key_points') == 0
    assert '1  tip                             1 boxes' in capsys.readouterr().out
    with pytest.raises(ValueError, match='--key_points goes with --annotations and --images'):
        inside('records', f'--input={tmp_path}', f'--output={tmp_path}/other', '--key_points')


def test_doctor_examines_annotations_before_they_become_records(inside, sources, tmp_path, capsys):
    """Annotations with such errors cannot be converted; the doctor reports both splits first."""
    lying = planted.changed(sources['train'], height=lambda p: p.width, width=lambda p: p.height)
    folder = other_formats.write_voc(lying, tmp_path / 'voc', {'train': 20, 'val': 4})
    with pytest.raises(DataError, match='150x100'):
        inside('doctor', f'--train={folder}/train', f'--valid={folder}/val', '--fast')
    said = capsys.readouterr().out
    assert 'voc, split train: read as voc' in said
    for split, count in (('train', 20), ('val', 4)):
        found = f'{split}: height and width are swapped in {count} of {count} images'
        assert said.count(f'ERROR    images.size: {found}') == 1


@pytest.fixture
def corners(sources, tmp_path):
    """A YOLO folder whose boxes are corners, where the format wants centres."""

    def as_corners(boxes, photo):
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)

    return other_formats.write_yolo(planted.moved(sources['train'], as_corners), tmp_path / 'yolo')


def test_doctor_reports_a_fault_of_annotations_and_records_once(inside, corners, capsys):
    assert inside('doctor', f'--train={corners}/train', '--fast') == 1
    said = capsys.readouterr().out
    assert said.count('ERROR    boxes.format: train: ') == 1
    assert said.count('ERROR    splits.no_validation') == 1


def test_doctor_as_json_and_with_findings_skipped(inside, corners, capsys):
    flags = f'--train={corners}/train', '--fast', '--json'
    assert inside('doctor', *flags) == 1
    stdout, stderr = capsys.readouterr()
    every = json.loads(stdout)
    assert {'boxes.format', 'splits.no_validation'} <= {finding['id'] for finding in every}
    assert set(every[0]) == {'id', 'severity', 'found', 'fix', 'split', 'numbers'}
    assert 'ERROR    boxes.format' in stderr

    areas = sorted({finding['id'].partition('.')[0] for finding in every} - {'splits'})
    skip = f'--skip={",".join(areas)}', '--skip=splits.no_validation'
    assert inside('doctor', *flags, *skip) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_doctor_draws_a_batch(inside, tmp_path, capsys):
    photos = [(80, 120, [drawn.box(10, 10, 40, 50, 1), drawn.box(70, 20, 30, 30, 18)])] * 3
    annotations, images = drawn.write_coco(tmp_path, photos)
    write_records(read_coco(annotations, images), tmp_path / 'records', progress=False)
    status = inside(
        'doctor',
        f'--annotations={annotations}',
        f'--images={images}',
        f'--train={tmp_path}/records',
        '--fast',
        f'--output={tmp_path}/checkup',
        'image_size=[96,128]',
        'batch_size=2',
    )
    assert status == 1 and 'ERROR    splits.no_validation' in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / 'checkup' / 'batch.png')).shape[2] == 3


def ids(source):
    return [photo.id for photo in source.photos]


def test_a_fifth_of_the_images_is_set_aside(sources):
    whole = sources['train']
    train, valid, what = set_aside(whole, seed=0)
    count = len(whole.photos)
    assert what == f'{round(count / 5)} of {count} images'
    assert len(valid.photos) == round(count / 5) == len(ids(valid))
    assert sorted(ids(train) + ids(valid)) == sorted(ids(whole))
    assert train.label_map == valid.label_map == whole.label_map
    assert all(photo in train.photos for photo in train.photos)
    assert not any(photo in train.photos for photo in valid.photos)


def test_the_same_seed_sets_the_same_images_aside(sources):
    """So the records are the same, and an interrupted training continues with them."""
    first, again, other = (set_aside(sources['train'], seed) for seed in (3, 3, 4))
    assert [fingerprint(part) for part in first[:2]] == [fingerprint(part) for part in again[:2]]
    assert ids(first[1]) != ids(other[1])


def test_one_image_of_two_is_set_aside_and_none_of_one(sources):
    source = planted.changed(sources['train'])
    two = type(source)(list(source.photos)[:2], source.label_map, {})
    train, valid, _ = set_aside(two, seed=0)
    assert len(train.photos) == len(valid.photos) == 1
    with pytest.raises(DataError, match='1 images cannot be divided'):
        set_aside(train, seed=0)


def test_of_records_whole_files_are_set_aside(healthy, tmp_path):
    (file,) = record_files(healthy['val'])
    folder = tmp_path / 'records'
    folder.mkdir()
    for i in range(5):
        (folder / f'{i}.tfrecord').symlink_to(file)
    train, valid, what = set_aside(folder, seed=1)
    assert what == '1 of 5 files'
    assert sorted([*train.files, *valid.files]) == record_files(folder)
    assert str(valid) == f'{folder} (1 of 5 files)' and len(valid.files) == 1
    again = set_aside(folder, seed=1)
    assert (again[0].files, again[1].files) == (train.files, valid.files)
    assert count_examples(train) == 4 * count_examples(valid) == 4 * count_examples([file])


def test_few_files_of_records_are_not_divided(healthy):
    with pytest.raises(DataError, match='set aside from 5 or more; give --valid'):
        set_aside(healthy['train'], seed=0)
