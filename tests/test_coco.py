"""COCO annotation files: real ones counted again by a plain loop, drawn ones with every fault."""

import json
import pathlib

import drawn
import numpy as np
import official
import pytest
from pycocotools import mask

from keras_efficientdet import read_coco
from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError


def counted(path):
    """What a plain loop over the json finds.

    {image id: [(category, box, crowd, area)]} of boxes with area, and those without.
    """
    content = json.loads(path.read_text())
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    rows, empty = {i: [] for i in sizes}, 0
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        width, height = sizes[a['image_id']]
        box = (max(0, y), max(0, x), min(height, y + h), min(width, x + w))
        if w <= 0 or h <= 0 or box[2] <= box[0] or box[3] <= box[1]:
            empty += 1
        else:
            rows[a['image_id']].append((a['category_id'], box, bool(a['iscrowd']), a['area']))
    return rows, empty


@pytest.mark.parametrize(
    ('folder', 'name', 'images', 'boxes', 'crowd', 'empty'),
    [
        ('coco_mini', 'val.json', 8, 79, 4, 0),
        ('coco_mini', 'instances.json', 6, 36, 1, 0),
        ('bccd', 'train.json', 205, None, 0, 1),
        ('bccd', 'val.json', 87, None, 0, 1),
        ('bccd', 'test.json', 72, None, 0, 0),
    ],
)
def test_real_files(real, folder, name, images, boxes, crowd, empty):
    path = real(folder) / 'annotations' / name
    source = read_coco(path, real(folder) / 'images')
    expected, zero = counted(path)
    assert len(source.photos) == images and zero == empty
    assert source.changes.get('boxes of zero size, left out', 0) == empty
    assert boxes in (None, sum(len(p.ids) for p in source.photos))
    assert sum(sum(p.crowd) for p in source.photos) == crowd
    for photo in source.photos:
        rows = expected[photo.id]
        assert photo.path.is_file() and len(photo.ids) == len(rows)
        assert photo.ids == tuple(r[0] for r in rows) and photo.crowd == tuple(r[2] for r in rows)
        np.testing.assert_allclose(
            photo.boxes, np.reshape([r[1] for r in rows], (-1, 4)), atol=1e-9
        )
        np.testing.assert_allclose(photo.areas, [r[3] for r in rows])


def test_the_photo_without_boxes_stays(real):
    source = read_coco(real('coco_mini/annotations/val.json'), real('coco_mini/images'))
    (photo,) = [p for p in source.photos if not p.ids]
    assert (
        photo.id == 89 and photo.boxes.shape == (0, 4) and (photo.height, photo.width) == (480, 640)
    )


def test_ids_with_gaps_in_ascending_order(tmp_path):
    labels = {400: 'van', 1: 'cat', 18: 'dog'}
    source = read_coco(
        *drawn.write_coco(
            tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4, 400), drawn.box(5, 6, 7, 8, 18)])], labels
        )
    )
    assert list(source.label_map.items()) == [(1, 'cat'), (18, 'dog'), (400, 'van')]
    assert source.photos[0].ids == (400, 18)
    np.testing.assert_array_equal(source.photos[0].boxes, [[2, 1, 6, 4], [6, 5, 14, 12]])


FAULTY = [
    ([0, 0, 0, 5], 'boxes of zero size, left out', None),
    ([3, 3, 5, 0], 'boxes of zero size, left out', None),
    ([3, 3, -2, -2], 'boxes with swapped corners, put right', [1, 1, 3, 3]),
    ([40, 3, 5, 5], 'boxes outside their picture, left out', None),
    ([3, -9, 5, 5], 'boxes outside their picture, left out', None),
    ([30, 0, 5, 5], 'boxes outside their picture, left out', None),
    ([25, 15, 10, 10], 'boxes cut to their picture', [15, 25, 20, 30]),
    ([-3, -4, 10, 10], 'boxes cut to their picture', [0, 0, 6, 7]),
]


@pytest.mark.parametrize(('bbox', 'change', 'left'), FAULTY, ids=[str(f[0]) for f in FAULTY])
def test_faulty_boxes_are_counted(tmp_path, bbox, change, left):
    good = drawn.box(1, 2, 3, 4, 18)
    source = read_coco(*drawn.write_coco(tmp_path, [(20, 30, [drawn.box(*bbox), good])]))
    assert {k: n for k, n in source.changes.items() if n} == {change: 1}
    np.testing.assert_array_equal(source.photos[0].boxes, ([left] if left else []) + [[2, 1, 6, 4]])
    assert source.photos[0].ids == ((1, 18) if left else (18,))


def test_nothing_is_counted_where_all_is_well(tmp_path):
    source = read_coco(
        *drawn.write_coco(
            tmp_path, [(20, 30, [drawn.box(0, 0, 30, 20), drawn.box(0, 0, 30.0004, 20)])]
        )
    )
    assert not any(source.changes.values())


def test_more_than_a_hundred_boxes(tmp_path):
    many = [drawn.box(i, j, 1, 1) for i in range(15) for j in range(10)]
    source = read_coco(*drawn.write_coco(tmp_path, [(20, 30, many)]))
    assert len(source.photos[0].ids) == source.photos[0].boxes.shape[0] == 150


def test_area_defaults_to_that_of_the_box(tmp_path):
    without = drawn.box(0, 0, 4, 5)
    del without['area'], without['iscrowd']
    source = read_coco(
        *drawn.write_coco(
            tmp_path, [(20, 30, [without, drawn.box(0, 0, 4, 5, area=7.5, iscrowd=1)])]
        )
    )
    assert source.photos[0].areas == (20, 7.5) and source.photos[0].crowd == (False, True)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'not a json file'),
        ([1, 2], 'not a COCO file, images, annotations, categories missing'),
        ({'images': [], 'categories': []}, 'not a COCO file, annotations missing'),
        (
            {
                'images': [],
                'annotations': [{'id': 1, 'image_id': 9, 'bbox': [0, 0, 1, 1], 'category_id': 1}],
                'categories': [],
            },
            'images that `images` does not list, like image_id 9',
        ),
        (
            {'images': [], 'categories': [], 'annotations': None},
            'not a COCO file, annotations missing',
        ),
        (
            {
                'images': [{'id': 1, 'width': 9}],
                'annotations': [],
                'categories': [],
            },
            'an entry of `images` needs id, file_name, found',
        ),
        (
            {
                'images': [{'id': 1, 'file_name': 'a.png', 'width': 9, 'height': 9}] * 2,
                'annotations': [],
                'categories': [],
            },
            'image id 1 is listed more than once',
        ),
        (
            {
                'images': [],
                'annotations': [],
                'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'cat'}],
            },
            "category name 'cat' is listed more than once",
        ),
    ],
    ids=lambda v: str(v)[:30],
)
def test_errors_name_the_file(write_json, content, message):
    path = write_json(content, 'mine.json')
    with pytest.raises(DataError) as error:
        read_coco(path, '.')
    assert str(path) in str(error.value) and message in str(error.value)


@pytest.mark.parametrize(
    'bbox', [[1, 2, 3], [1, 2, float('nan'), 4], None, [], [1, 2, '3', 4]], ids=str
)
def test_a_bbox_must_be_four_numbers(tmp_path, bbox):
    content = {
        'images': [{'id': 1, 'file_name': '1.png', 'width': 30, 'height': 20}],
        'categories': [{'id': 1, 'name': 'cat'}],
        'annotations': [{'id': 5, 'image_id': 1, 'category_id': 1, 'bbox': bbox}],
    }
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match='annotation 5 needs a bbox of four finite numbers'):
        read_coco(tmp_path / 'a.json', tmp_path)


def test_a_missing_file_is_named():
    with pytest.raises(DataError, match=r'nowhere/x\.json: no such annotation file'):
        read_coco(pathlib.Path('nowhere/x.json'), '.')


def test_unknown_category_is_named(tmp_path):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(0, 0, 4, 5, 77)])])
    with pytest.raises(
        DataError,
        match=r'annotation 1 has category_id 77, which is not in categories \(1, 18, 400\)',
    ) as error:
        read_coco(path, folder)
    assert str(path) in str(error.value)


def _changed(key, entry, **values):
    def change(content):
        content[key][entry].update(values)

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_changed('categories', 1, id=1), 'category id 1 is listed more than once'),
        (
            _changed('categories', 0, id='1'),
            '`id` of an entry of `categories` must be a whole number',
        ),
        (_changed('categories', 0, name=None), '`name` of an entry of `categories` must be a text'),
        (
            _changed('images', 0, width='wide'),
            "image 1: each side must be a number, found 'wide'",
        ),
        (
            _changed('categories', 0, id=2**63),
            '`id` of an entry of `categories` must be a whole number of at most 64 bits',
        ),
        (
            _changed('images', 0, file_name=None),
            '`file_name` of an entry of `images` must be a text',
        ),
        (
            _changed('annotations', 0, iscrowd='yes'),
            "annotation 1: iscrowd must be a number, found 'yes'",
        ),
    ],
)
def test_entries_of_other_kinds_are_named(tmp_path, change, message):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf'instances\.json.*{message}'):
        read_coco(path, folder)


def test_a_file_of_a_windows_program(tmp_path):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    content = json.loads(path.read_text())
    content['images'][0]['file_name'] = 'images\\1.png'
    content['annotations'][0]['iscrowd'] = '0'
    path.write_text(json.dumps(content), encoding='utf-8-sig')
    (photo,) = read_coco(path, folder.parent).photos
    assert photo.path == folder / '1.png' and photo.crowd == (False,)


def given(name):
    """(Source, changes) of a folder of inputs as other programs write them."""
    folder = official.bug_input(name)
    (path,) = folder.glob('*.json')
    source = read_coco(path, folder / 'images')
    assert all(photo.path.is_file() for photo in source.photos)
    return source, {change: count for change, count in source.changes.items() if count}


BOX = [12, 10, 60, 50]


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('coco_annotation_without_id', {}),
        ('coco_case_of_ending', {Change.SPELLING: 2}),
        ('coco_labelstudio_parent_paths', {Change.OTHER_FOLDER: 2}),
        ('coco_nan_area', {Change.INVALID_AREA: 1}),
        ('coco_no_width_height', {Change.SIZE_MEASURED: 2}),
        ('coco_reversed_boxes', {Change.REVERSED_BOX: 1}),
        ('coco_segmentation_only', {Change.POLYGON: 2}),
    ],
)
def test_what_programs_write(name, changes):
    """Each data set has two images of 96x80 pixels with one box each."""
    source, found = given(name)
    assert found == changes
    assert [(photo.height, photo.width) for photo in source.photos] == [(80, 96)] * 2
    assert [photo.boxes.tolist() for photo in source.photos] == [[BOX]] * 2
    assert [photo.areas for photo in source.photos] == [(1920,)] * 2
    assert source.label_map == {1: 'nut', 2: 'bolt'}


def test_the_root_category_of_roboflow_is_left_out():
    source, changes = given('coco_roboflow_root_unused')
    assert source.label_map == {1: 'cube', 2: 'disc'}
    assert changes == {Change.UNUSED_CATEGORY: 1}
    source, changes = given('coco_roboflow_root_same_name')
    assert source.label_map == {1: 'brick'}
    assert [photo.ids for photo in source.photos] == [(1,), (1,)]
    assert changes == {Change.UNUSED_CATEGORY: 1}


@pytest.mark.parametrize(
    ('categories', 'boxes_of'),
    [
        ([(0, 'parts', 'none'), (1, 'cube', 'parts')], 0),  # it has a box
        ([(0, 'parts', 'none'), (1, 'cube', 'none')], 1),  # nobody names it
        ([(0, 'parts', 'parts'), (1, 'cube', 'parts')], 1),  # a class of its own group
        ([(1, 'vehicle', 'none'), (2, 'car', 'vehicle')], 2),  # only in this split without a box
    ],
    ids=['annotated', 'alone', 'own group', 'not 0'],
)
def test_other_categories_stay(tmp_path, categories, boxes_of):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4, boxes_of)])])
    content = json.loads(path.read_text())
    content['categories'] = [
        {'id': i, 'name': name, 'supercategory': above} for i, name, above in categories
    ]
    path.write_text(json.dumps(content))
    source = read_coco(path, folder)
    assert source.label_map == {i: name for i, name, _ in categories}
    assert not source.changes


def test_references_that_are_texts_are_named():
    with pytest.raises(DataError, match="image_id '1'; there it is a number, here it is a text"):
        given('coco_string_references')


def test_category_references_that_are_texts_are_named(tmp_path):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4, '18')])])
    with pytest.raises(DataError, match=r"category_id '18'.*there it is a number, here"):
        read_coco(path, folder)


def test_a_category_beyond_64_bits_is_named():
    with pytest.raises(DataError, match=r'`categories`.*64 bits, found .*9223372036854775808'):
        given('coco_category_beyond_int64')


def _runs(compressed):
    pixels = np.zeros((20, 30), np.uint8, order='F')
    pixels[4:9, 10:22] = 1
    if compressed:
        encoded = mask.encode(pixels)
        return {'size': [20, 30], 'counts': encoded['counts'].decode()}
    flat = pixels.ravel(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {'size': [20, 30], 'counts': np.diff([0, *edges, flat.size]).tolist()}


@pytest.mark.parametrize(
    'segmentation',
    [
        [[10, 4, 22, 4, 22, 9], [12, 5, 10, 9, 12, 9]],
        _runs(compressed=True),
        _runs(compressed=False),
    ],
    ids=['two polygons', 'compressed', 'counts'],
)
@pytest.mark.parametrize('bbox', [None, []], ids=['null', 'empty'])
def test_the_box_around_a_segmentation(tmp_path, segmentation, bbox):
    annotation = drawn.box(0, 0, 1, 1, 18, segmentation=segmentation)
    annotation.update(bbox=bbox, area=None)
    path, folder = _annotated(tmp_path, annotation)
    (photo,) = read_coco(path, folder).photos
    assert photo.boxes.tolist() == [[4, 10, 9, 22]] and photo.areas == (60,)


@pytest.mark.parametrize(
    'segmentation',
    [[[1, 2, 3]], [['a', 'b']], [[]], {'size': [20, 30]}, [[1, 2, float('nan'), 4]], 'outline'],
    ids=str,
)
def test_a_segmentation_without_a_box_around_it_is_named(tmp_path, segmentation):
    annotation = drawn.box(0, 0, 1, 1, 18, segmentation=segmentation)
    annotation.update(bbox=None)
    path, folder = _annotated(tmp_path, annotation)
    with pytest.raises(DataError, match=r'instances\.json, annotation 1 has no bbox, and its segm'):
        read_coco(path, folder)


def _annotated(folder, annotation):
    """A data set of one image with an annotation that cannot be drawn."""
    path, images = drawn.write_coco(folder, [(20, 30, [])])
    content = json.loads(path.read_text())
    content['annotations'] = [{'id': 1, 'image_id': 1, **annotation}]
    path.write_text(json.dumps(content))
    return path, images


@pytest.mark.parametrize(
    'size', [{'width': 0, 'height': 0}, {'width': None, 'height': 20}, {'width': '', 'height': ''}]
)
def test_sizes_that_are_not_stated_are_measured(tmp_path, size):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    content = json.loads(path.read_text())
    content['images'][0].update(size)
    path.write_text(json.dumps(content))
    source = read_coco(path, folder)
    assert (source.photos[0].height, source.photos[0].width) == (20, 30)
    assert source.changes == {Change.SIZE_MEASURED: 1}


def test_a_stated_size_may_be_a_text(tmp_path):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    content = json.loads(path.read_text())
    content['images'][0].update(width='30', height='20.0')
    path.write_text(json.dumps(content))
    (photo,) = read_coco(path, folder).photos
    assert (photo.height, photo.width) == (20, 30)


def test_an_image_that_is_missing_keeps_its_stated_name(tmp_path):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    (folder / '1.png').unlink()
    assert read_coco(path, folder).photos[0].path == folder / '1.png'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([{'image_id': 1, 'bbox': [0, 0, 1, 1], 'score': 0.5, 'category_id': 1}], 'of detections'),
        ({'images': [], 'annotations': [{'id': 1, 'image_id': 1, 'caption': 'a'}]}, 'of captions'),
    ],
)
def test_other_files_of_coco_are_named(write_json, content, message):
    with pytest.raises(DataError, match=f'not a COCO file, .*this is a file {message}'):
        read_coco(write_json(content), '.')


def test_names_are_stripped_and_folders_may_hold_other_spellings(tmp_path):
    labels = {1: ' cat', 18: 'dog ', 400: 'van'}
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])], labels)
    (folder / '1.png').rename(folder / '1.PNG')
    source = read_coco(path, [tmp_path / 'elsewhere', folder])
    assert source.label_map == {1: 'cat', 18: 'dog', 400: 'van'}
    assert source.photos[0].path == folder / '1.PNG'


def test_all_faults_are_named_at_once(tmp_path):
    boxes = [drawn.box(1, 2, 3, 4, 77), drawn.box(1, 2, 3, 4), drawn.box(1, 2, 3, 4, 78)]
    path, folder = drawn.write_coco(tmp_path, [(20, 30, boxes), (20, 30, boxes)])
    with pytest.raises(DataError, match=r'(?s)4 faults:.*annotation 1 .*annotation 6 '):
        read_coco(path, folder)
