"""RunInference finds what `Detector` finds."""

import json

import pytest
from PIL import Image

pytest.importorskip('apache_beam', reason='the `beam` extra is not installed')


def test_images_of_one_name_have_ids_of_their_own(small_model, pictures, tmp_path):
    from keras_efficientdet import export_savedmodel
    from keras_efficientdet.inference.beam import detect_beam

    paths = [tmp_path / name for name in ('a/1.png', 'b/01.png', 'b/2.png')]
    for path, picture in zip(paths, pictures, strict=True):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    # The first is listed twice, which makes it no other image.
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, [*paths, paths[2]])))
    model = export_savedmodel(small_model, tmp_path / 'model')
    detect_beam(model, tmp_path / 'list.txt', tmp_path / 'out', min_score=0.5)
    files = (tmp_path / 'out').glob('detections-*-of-*.jsonl')
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    ids = {row['file_name']: row['image_id'] for row in rows}
    assert ids == {str(paths[0]): str(paths[0]), str(paths[1]): str(paths[1]), str(paths[2]): 2}


def test_the_same_detections(small_model, small_detector, pictures, tmp_path):
    from keras_efficientdet import export_savedmodel
    from keras_efficientdet.inference.beam import detect_beam

    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    (tmp_path / 'text.png').write_text('no picture')
    (tmp_path / 'list.txt').write_text(
        '\n \n\n'.join(map(str, [*paths, tmp_path / 'text.png', paths[0]]))
    )  # blank lines
    model = export_savedmodel(small_model, tmp_path / 'model')
    detect_beam(model, tmp_path / 'list.txt', tmp_path / 'out', min_score=0.5)
    found, broken = (
        [
            json.loads(line)
            for file in sorted((tmp_path / 'out').glob(f'{name}-*-of-*.jsonl'))
            for line in file.read_text().splitlines()
        ]
        for name in ('detections', 'broken')
    )
    for i, (path, expected) in enumerate(zip(paths, small_detector(paths), strict=True)):
        rows = [row for row in found if row['file_name'] == str(path)]
        assert (
            len(rows) == len(expected.above(0.5)) * (2 if i == 0 else 1) > 0
        )  # the first is listed twice
        assert abs(max(row['score'] for row in rows) - expected.scores[0]) < 1e-3
    (row,) = broken
    assert (
        row['file_name'] == str(tmp_path / 'text.png')
        and 'cannot be read as an image' in row['error']
    )
