"""Bulk detection: parts, shards, interruptions, damaged files; the result is that of `Detector`."""

import json
import os
import pathlib

import damaged
import numpy as np
import official
import pytest
from PIL import Image

from keras_efficientdet import Detector, efficientdet, export_savedmodel
from keras_efficientdet.imaging.sources import find_images
from keras_efficientdet.inference import bulk, engines
from keras_efficientdet.inference.bulk import detect_files
from keras_efficientdet.inference.detector import model_fingerprint
from keras_efficientdet.inference.results import result_rows


@pytest.fixture
def paths(tmp_path, pictures):
    """Seven files, the fourth broken, the last missing."""
    folder = tmp_path / 'photos'
    for i in range(6):
        (folder / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pictures[i % 3], i, 1)).save(folder / str(i % 2) / f'{i}.png')
    (folder / '1' / '3.png').write_bytes((folder / '1' / '1.png').read_bytes()[:2000])
    return [folder / str(i % 2) / f'{i}.png' for i in range(7)]


@pytest.fixture
def expected(paths, small_detector):
    good = [path for i, path in enumerate(paths) if i not in (3, 6)]
    return [
        row
        for path, found in zip(good, small_detector(good), strict=True)
        for row in result_rows(found.above(0.3), path)
    ]


def result(folder):
    return json.loads((folder / 'detections.json').read_text())


def close(found, expected):
    for key in ('file_name', 'image_id', 'category_id', 'category'):
        assert [row[key] for row in found] == [row[key] for row in expected]
    np.testing.assert_allclose(
        [row['bbox'] for row in found], [row['bbox'] for row in expected], atol=0.05
    )


def test_the_result_is_that_of_one_detector(paths, expected, small_detector, tmp_path, capsys):
    counts = detect_files(
        small_detector, paths, tmp_path / 'out', part_size=3, drawn=True, table=True
    )
    assert counts == {
        'pictures': 7,
        'detections': len(expected),
        'broken': 2,
        'parts': 3,
        'parts done before': 0,
        'parts missing': 0,
        'ids by path': 0,
    }
    close(result(tmp_path / 'out'), expected)
    assert '7/7' in capsys.readouterr().err
    broken = json.loads((tmp_path / 'out' / 'broken.json').read_text())
    assert [row['file_name'] for row in broken] == [str(paths[3]), str(paths[6])]
    assert 'cannot be read as an image' in broken[0]['error']
    assert 'No such file' in broken[1]['error']
    drawn = sorted(
        str(p.relative_to(tmp_path / 'out' / 'drawn'))
        for p in (tmp_path / 'out' / 'drawn').rglob('*.png')
    )
    assert drawn == ['0/0.png', '0/2.png', '0/4.png', '1/1.png', '1/5.png']
    assert len((tmp_path / 'out' / 'detections.csv').read_text().splitlines()) == 1 + len(expected)


def test_shares_together_make_the_whole(paths, expected, small_detector, tmp_path):
    out = tmp_path / 'out'
    first = detect_files(small_detector, paths, out, part_size=2, shard=(2, 2))
    assert (first['parts missing'], first['pictures']) == (2, 3)
    assert not (out / 'detections.json').exists()
    second = detect_files(small_detector, paths, out, part_size=2, shard=(1, 2))
    assert (second['parts done before'], second['parts missing'], second['broken']) == (2, 0, 2)
    close(result(out), expected)
    with pytest.raises(ValueError, match='shard 3/2: expected 1/2 to 2/2'):
        detect_files(small_detector, paths, out, shard=(3, 2))


def test_a_stopped_run_goes_on(paths, expected, small_detector, tmp_path, monkeypatch):
    out, drawn = tmp_path / 'out', []

    def stop_at_the_fourth(*arguments):
        drawn.append(arguments[0])
        if len(drawn) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bulk, 'save_drawn', stop_at_the_fourth)
        detect_files(small_detector, paths, out, part_size=2, drawn=True)
    left = {p.name: p.stat().st_mtime_ns for p in (out / 'parts').iterdir()}
    assert sorted(left) == ['000001-of-000004.json', '000002-of-000004.json']
    counts = detect_files(small_detector, paths, out, part_size=2, drawn=True)
    assert counts['parts done before'] == 2 and counts['parts missing'] == 0
    assert all((out / 'parts' / name).stat().st_mtime_ns == time for name, time in left.items())
    close(result(out), expected)
    assert (
        detect_files(small_detector, paths, out, part_size=2, drawn=True)['parts done before'] == 4
    )


def test_another_job_is_refused(paths, small_detector, tmp_path):
    detect_files(small_detector, paths, tmp_path / 'out', part_size=4)
    for change, named in (
        ({'min_score': 0.1}, 'min_score 0.3, now 0.1'),
        ({'part_size': 3}, 'part_size 4, now 3'),
    ):
        with pytest.raises(ValueError, match=f'out was started with {named}'):
            detect_files(small_detector, paths, tmp_path / 'out', **{'part_size': 4, **change})
    with pytest.raises(ValueError, match='was started with list '):
        detect_files(small_detector, paths[::-1], tmp_path / 'out', part_size=4)


def test_images_of_one_name_have_ids_of_their_own(small_detector, pictures, tmp_path):
    names = ('cam1/0001.png', 'cam2/0001.png', 'cam3/1.png', 'cam3/7.png')
    paths = [str(tmp_path / name) for name in names]
    for path, picture in zip(paths, [*pictures, pictures[0]], strict=True):
        pathlib.Path(path).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    counts = detect_files(small_detector, paths, tmp_path / 'out', part_size=1)
    assert counts['ids by path'] == 3
    ids = {row['file_name']: row['image_id'] for row in result(tmp_path / 'out')}
    assert ids == {**{path: path for path in paths[:3]}, paths[3]: 7}


def test_file_names_in_another_encoding(small_detector, tmp_path):
    """As unpacked from a zip file of Windows."""
    folder = official.bug_input('yolo_non_utf8_file_names') / 'images'
    paths = find_images(folder)
    counts = detect_files(
        small_detector, paths, tmp_path / 'out', table=True, drawn=True, min_score=0.01
    )
    assert (counts['pictures'], counts['broken']) == (len(paths), 0)
    rows = (tmp_path / 'out' / 'detections.csv').read_text(encoding='utf-8').splitlines()
    assert len(rows) == 1 + counts['detections'] > 1
    assert any('\\udc' in row for row in rows)
    assert len(list((tmp_path / 'out' / 'drawn').iterdir())) == len(paths)


def test_the_same_model_at_another_path_goes_on(paths, small_model, tmp_path):
    small_model.save(tmp_path / 'net.keras')
    detect_files(tmp_path / 'net.keras', paths[:2], tmp_path / 'out')
    (tmp_path / 'moved').mkdir()
    moved = (tmp_path / 'net.keras').rename(tmp_path / 'moved' / 'other_name.keras')
    assert detect_files(moved, paths[:2], tmp_path / 'out')['parts done before'] == 1


def test_another_model_of_one_name_is_refused(paths, small_model, tmp_path):
    path, out = tmp_path / 'net.keras', tmp_path / 'out'
    small_model.save(path)
    detect_files(path, paths[:2], out)
    assert detect_files(str(path), paths[:2], out)['parts done before'] == 1
    efficientdet(small_model.detection_config).save(path)
    with pytest.raises(ValueError, match=r'out was started with model_sha256 .*, now '):
        detect_files(path, paths[:2], out)


def test_another_detector_is_refused(paths, small_model, small_detector, tmp_path):
    detect_files(small_detector, paths[:2], tmp_path / 'out')
    assert (
        detect_files(Detector(small_model), paths[:2], tmp_path / 'out')['parts done before'] == 1
    )
    with pytest.raises(ValueError, match='started with model_sha256'):
        detect_files(
            Detector(efficientdet(small_model.detection_config)), paths[:2], tmp_path / 'out'
        )


def test_a_detector_of_a_file_is_known_by_what_it_loaded(small_model, tmp_path):
    path = tmp_path / 'net.keras'
    small_model.save(path)
    asked_before, asked_after = Detector(path), Detector(path)
    loaded = model_fingerprint(path)
    assert asked_before.fingerprint() == loaded
    efficientdet(small_model.detection_config).save(path)
    assert asked_before.fingerprint() == loaded != model_fingerprint(path)
    with pytest.raises(ValueError, match=r'net\.keras changed after the model was loaded'):
        asked_after.fingerprint()


def test_a_model_file_is_hashed_only_when_asked(small_model, tmp_path, monkeypatch):
    small_model.save(tmp_path / 'net.keras')
    read = []
    usual = pathlib.Path.read_bytes
    monkeypatch.setattr(
        pathlib.Path, 'read_bytes', lambda path: read.append(path.name) or usual(path)
    )
    loaded = Detector(tmp_path / 'net.keras')
    assert read == []
    assert loaded.fingerprint() == loaded.fingerprint()
    assert read == ['net.keras']


def test_a_removed_model_file_has_changed(tmp_path):
    (tmp_path / 'x.onnx').write_text('x')
    files = engines.ModelFiles(tmp_path / 'x.onnx')
    (tmp_path / 'x.onnx').unlink()
    with pytest.raises(ValueError, match=r'x\.onnx changed after the model was loaded'):
        files.fingerprint()


@pytest.mark.parametrize(
    ('files', 'changed'),
    [
        (('x.onnx',), 'x.onnx'),
        (('x.tflite',), 'x.tflite'),
        (('x.xml', 'x.bin'), 'x.xml'),
        (('x.xml', 'x.bin'), 'x.bin'),
        (('config.yaml', 'best.weights.h5'), 'config.yaml'),
        (('config.yaml', 'best.weights.h5'), 'best.weights.h5'),
        (('1/saved_model.pb', '1/variables/variables.index'), '1/saved_model.pb'),
        (('1/saved_model.pb', '1/variables/variables.index'), '1/variables/variables.index'),
        (('1/saved_model.pb',), '2/saved_model.pb'),
    ],
    ids=str,
)
def test_every_file_of_a_model_counts(tmp_path, files, changed):
    def write(name, content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    for name in files:
        write(name, name)
    model = tmp_path / files[0] if files[0].startswith('x.') else tmp_path
    before = model_fingerprint(model)
    write('events.out', 'of TensorBoard')
    assert model_fingerprint(model) == before
    write(changed, 'another')
    assert model_fingerprint(model) != before


def test_an_exported_model_is_known_from_any_place(small_model, tmp_path):
    export_savedmodel(small_model, tmp_path / 'a')
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert model_fingerprint(tmp_path / 'b') == model_fingerprint(tmp_path / 'b' / '1')


def test_changed_pictures_are_refused(paths, small_detector, tmp_path):
    detect_files(small_detector, paths, tmp_path / 'out')
    time = paths[0].stat().st_mtime_ns
    os.utime(paths[0], ns=(time, time + 10**9))
    with pytest.raises(ValueError, match='out was started with sizes_and_times'):
        detect_files(small_detector, paths, tmp_path / 'out')
    os.utime(paths[0], ns=(time, time))
    assert detect_files(small_detector, paths, tmp_path / 'out')['parts done before'] == 1


def test_damaged_exif_costs_no_picture(pictures, small_detector, tmp_path):
    (tmp_path / 'bad.jpg').write_bytes(damaged.jpeg(pictures[1]))
    counts = detect_files(small_detector, [tmp_path / 'bad.jpg'], tmp_path / 'out', drawn=True)
    assert counts['broken'] == 0 and counts['detections'] > 0
    assert (
        Image.open(tmp_path / 'out' / 'drawn' / 'bad.jpg.png').size == pictures[1].shape[:2]
    )  # on its side no more


@pytest.mark.parametrize('fault', [ValueError, TypeError, IndexError])
def test_whatever_cannot_be_decoded_is_broken(paths, small_detector, tmp_path, monkeypatch, fault):
    usual = Image.open

    def stumble(path, *rest):
        if str(path) == str(paths[0]):
            raise fault('bad')
        return usual(path, *rest)

    monkeypatch.setattr(Image, 'open', stumble)
    assert detect_files(small_detector, paths[:2], tmp_path / 'out')['broken'] == 1
    (broken,) = json.loads((tmp_path / 'out' / 'broken.json').read_text())
    assert broken == {
        'file_name': str(paths[0]),
        'error': f'{paths[0]}: cannot be read as an image: bad',
    }


def test_a_missing_model_leaves_nothing(paths, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no\.keras'):
        detect_files(tmp_path / 'no.keras', paths, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
