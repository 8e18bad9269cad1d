"""The drawn data set: the same for a seed, labelled tightly, and readable by the library."""

import collections
import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from keras_efficientdet import read_coco

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / 'tools'))
import drawn_shapes

SIZE = (200, 300)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """(folder, content of the COCO file) of 60 images."""
    path = drawn_shapes.draw_data_set(60, 5, tmp_path_factory.mktemp('drawn') / 'set')
    return path.parent, json.loads(path.read_text())


def test_same_seed_same_images_whatever_the_count(drawn, tmp_path):
    folder, content = drawn
    again = json.loads(drawn_shapes.draw_data_set(4, 5, tmp_path / 'again').read_text())
    assert again['images'] == content['images'][:4]
    assert again['annotations'] == content['annotations'][: len(again['annotations'])]
    for image in again['images']:
        assert (tmp_path / 'again' / image['file_name']).read_bytes() == (
            folder / image['file_name']
        ).read_bytes()


def test_other_seed_other_images(drawn, tmp_path):
    folder, _ = drawn
    drawn_shapes.draw_data_set(1, 6, tmp_path / 'other')
    assert (tmp_path / 'other' / '00000.png').read_bytes() != (folder / '00000.png').read_bytes()


def test_an_existing_folder_is_left_alone(drawn):
    with pytest.raises(FileExistsError):
        drawn_shapes.draw_data_set(1, 5, drawn[0])


def test_category_and_image_ids_have_gaps(drawn):
    _, content = drawn
    for ids in ([c['id'] for c in content['categories']], [i['id'] for i in content['images']]):
        assert len(set(ids)) == len(ids) and max(ids) - min(ids) >= len(ids)


def test_variety(drawn):
    """All classes, several sizes, both formats, many objects in an image, and empty images."""
    _, content = drawn
    per_class = collections.Counter(a['category_id'] for a in content['annotations'])
    assert (
        set(per_class) == {c['id'] for c in content['categories']} and min(per_class.values()) >= 20
    )
    per_image = collections.Counter(a['image_id'] for a in content['annotations'])
    assert 5 <= max(per_image.values()) <= drawn_shapes.MOST_OBJECTS and len(per_image) < len(
        content['images']
    )
    assert len({(i['height'], i['width']) for i in content['images']}) >= 4
    assert {pathlib.Path(i['file_name']).suffix for i in content['images']} == {'.png', '.jpg'}


def test_the_library_reads_it_unchanged(drawn):
    folder, content = drawn
    source = read_coco(folder / 'instances.json', folder)
    assert not any(source.changes.values())
    assert sum(len(p.ids) for p in source.photos) == len(content['annotations'])
    for photo in source.photos:
        with Image.open(photo.path) as picture:
            assert picture.size == (photo.width, photo.height)


@pytest.mark.parametrize('shape', drawn_shapes.SHAPES)
@pytest.mark.parametrize('angle', [0.0, 0.4, 2.0])
def test_boxes_are_tight_around_the_painted_pixels(shape, angle):
    """Measured on the pixels that painting changed: the mask lacks the faint ends of sharp tips."""
    rng, before = np.random.default_rng(1), np.full((*SIZE, 3), 30.0, np.float32)
    place = (90.0, 140.0), 60.0, angle, SIZE
    filled = drawn_shapes.outline(shape, *place)
    changed = (
        np.abs(
            drawn_shapes.paint(rng, before, filled, drawn_shapes.pattern(shape, *place)) - before
        ).max(-1)
        > 1.0
    )
    rows, columns = np.nonzero(changed)
    x, y, width, height = drawn_shapes.box_of(filled >= 0.5)
    np.testing.assert_allclose(
        [x, y, x + width, y + height],
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1],
        atol=2,
    )


@pytest.mark.parametrize(
    'shape, share', [('disc', np.pi), ('square', 2.0), ('triangle', 3**1.5 / 4)]
)
def test_outlines_have_the_area_of_their_shape(shape, share):
    filled = drawn_shapes.outline(shape, (100.0, 150.0), 80.0, 0.3, SIZE)
    assert filled.sum() == pytest.approx(share * 80**2, rel=0.02)


def test_annotations_are_the_visible_pixels_of_the_image(drawn):
    _, content = drawn
    by_image = collections.defaultdict(list)
    for a in content['annotations']:
        by_image[a['image_id']].append(a)
    for i, image in enumerate(content['images']):
        _, objects = drawn_shapes.draw_image(np.random.default_rng([5, i]))
        assert len(objects) == len(by_image[image['id']])
        for (category, mask), a in zip(objects, by_image[image['id']], strict=True):
            x, y, width, height = a['bbox']
            inside = mask[y : y + height, x : x + width]
            assert a['category_id'] == category and a['area'] == mask.sum() == inside.sum()
            assert (
                inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            )


def test_an_object_hidden_for_the_most_part_is_not_labelled():
    below, slightly, mostly = np.zeros((3, 10, 10), bool)
    below[2:8, 2:8] = True
    slightly[2:8, 6:10] = True
    mostly[2:8, 3:8] = True
    assert [c for c, _ in drawn_shapes.visible([(3, below), (7, mostly)])] == [7]
    (_, left), (_, top) = drawn_shapes.visible([(3, below), (7, slightly)])
    assert drawn_shapes.box_of(left) == [2, 2, 4, 6] and drawn_shapes.box_of(top) == [6, 2, 4, 6]
    assert not (left & top).any()
