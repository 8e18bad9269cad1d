"""Pascal VOC: recorded outputs of the official converter, real data, other layouts, faults."""

import tarfile

import drawn
import numpy as np
import official
import other_formats
import pytest

from keras_efficientdet import DataError, read_coco, read_voc
from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.data.source import Change


@pytest.fixture
def tiny(golden_file, tmp_path):
    with tarfile.open(golden_file('data/voc_tiny.tar.gz')) as archive:
        archive.extractall(tmp_path, filter='data')
    return tmp_path / 'VOCdevkit' / 'VOC2012'


@pytest.mark.parametrize('split', ['train', 'aeroplane_train'])
def test_equals_the_official_converter(tiny, golden, split):
    official, records = golden('data/json_pascal.json'), golden('data/pascal_features.json')
    source = read_voc(tiny, split)
    assert source.label_map == {c['id']: c['name'] for c in official['categories'][1:]} and not any(
        source.changes.values()
    )
    for photo, image, features in zip(source.photos, official['images'], records, strict=True):
        assert (photo.path.name, photo.height, photo.width, photo.id) == tuple(
            image[k] for k in ('file_name', 'height', 'width', 'id')
        )
        boxes = [a for a in official['annotations'] if a['image_id'] == photo.id]
        assert (
            list(photo.ids)
            == [a['category_id'] for a in boxes]
            == features['image/object/class/label']['values']
        )
        found = [[x, y, x2 - x, y2 - y] for y, x, y2, x2 in photo.boxes]
        assert found == [a['bbox'] for a in boxes] and list(photo.areas) == [
            a['area'] for a in boxes
        ]
    assert 1 in records[0]['image/object/difficult']['values']  # difficult objects are kept


def test_real_photos_written_and_read_back(real, tmp_path):
    expected = read_coco(real('voc100/annotations/train.json'), real('voc100/images'))
    folder = other_formats.write_voc(expected, tmp_path / 'voc', {'train': 60, 'val': 10})
    found = read_voc(folder)
    other_formats.assert_same(found, expected)
    assert found.label_map == LABEL_MAPS['voc']
    names = [p.path.name for p in read_voc(folder, 'val').photos]
    assert names == [p.path.name for p in expected.photos[60:]]


@pytest.fixture
def drawn_voc(tmp_path):
    photos = [
        (20, 30, [drawn.box(1, 2, 3, 4, 18), drawn.box(4, 4, 5, 5, 1)]),
        (20, 30, [drawn.box(1, 2, 3, 4, 400)]),
        (9, 8, []),
    ]
    source = read_coco(*drawn.write_coco(tmp_path / 'coco', photos))
    return other_formats.write_voc(source, tmp_path / 'voc', {'train': 1, 'val': 2})


def test_names_of_all_splits_are_numbered(drawn_voc):
    train, val = read_voc(drawn_voc, 'train'), read_voc(drawn_voc, 'val')
    assert train.label_map == val.label_map == {1: 'cat', 2: 'dog', 3: 'van'}
    assert [p.ids for p in (*train.photos, *val.photos)] == [(2, 1), (3,), ()]
    assert read_voc(drawn_voc, 'val', {7: 'van'}).photos[0].ids == (7,)


def test_xml_beside_the_pictures(drawn_voc, tmp_path):
    flat = tmp_path / 'flat'
    flat.mkdir()
    for path in (*drawn_voc.glob('Annotations/*'), *drawn_voc.glob('JPEGImages/*')):
        path.rename(flat / path.name)
    xml = (flat / '1.xml').read_text()
    (flat / '1.xml').write_text(
        xml.replace('<filename>1.png</filename>', '<filename>elsewhere</filename>')
    )
    source = read_voc(flat)
    assert [p.path.name for p in source.photos] == ['1.png', '2.png', '3.png']
    np.testing.assert_array_equal(source.photos[0].boxes, [[2, 1, 6, 4], [4, 4, 9, 9]])


def test_boxes_are_cut_and_counted(drawn_voc):
    path = drawn_voc / 'Annotations' / '1.xml'
    path.write_text(
        path.read_text().replace('<xmax>4.0<', '<xmax>40<').replace('<ymin>4.0<', '<ymin>9<')
    )
    source = read_voc(drawn_voc)
    assert source.changes == {'boxes cut to their picture': 1, 'boxes of zero size, left out': 1}
    np.testing.assert_array_equal(source.photos[0].boxes, [[2, 1, 6, 30]])


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<height>20<', '<height>tall<', r"1\.xml: size must be a number, found 'tall'"),
        (
            '<xmax>9.0</xmax>',
            '<xmax>nine</xmax>',
            r"1\.xml, object 2: bndbox/xmax must be a number, found 'nine'",
        ),
        ('<bndbox>', '<polygon>', r'1\.xml: not an xml file: mismatched tag: line 1'),
        (
            'annotation>',
            'annotations>',
            r'1\.xml: not a VOC file, expected <annotation>, found <annotations>; .* of CVAT',
        ),
    ],
)
def test_faults_name_the_file(drawn_voc, old, new, message):
    path = drawn_voc / 'Annotations' / '1.xml'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_voc(drawn_voc)


def test_what_is_not_there_is_named(drawn_voc, tmp_path):
    with pytest.raises(
        DataError, match=r"2\.xml, object 1: class 'van' is not among the classes \['cat', 'dog'\]"
    ):
        read_voc(drawn_voc, label_map={1: 'cat', 2: 'dog'})
    with pytest.raises(DataError, match=r"no split 'test'; ImageSets/Main has \['train', 'val'\]"):
        read_voc(drawn_voc, 'test')
    (drawn_voc / 'JPEGImages' / '2.png').unlink()
    with pytest.raises(
        DataError, match=r'2\.xml: its image 2\.png is not there; looked in .*JPEGImages'
    ):
        read_voc(drawn_voc)
    (drawn_voc / 'ImageSets' / 'Main' / 'train.txt').write_text('1\nmissing\n')
    with pytest.raises(DataError, match=r'train\.txt, entry 2: missing has no xml file'):
        read_voc(drawn_voc, 'train')
    with pytest.raises(DataError, match='no xml files'):
        read_voc(tmp_path / 'coco')


def test_file_names_with_spaces(drawn_voc):
    for place, end in (('Annotations', '.xml'), ('JPEGImages', '.png')):
        (drawn_voc / place / f'2{end}').rename(drawn_voc / place / f'1 2{end}')
    xml = drawn_voc / 'Annotations' / '1 2.xml'
    xml.write_text(xml.read_text().replace('2.png', '1 2.png'))
    lists = drawn_voc / 'ImageSets' / 'Main'
    (lists / 'train.txt').write_text('1 2\n')
    (lists / 'val.txt').write_text('1  1 1\n3 -1\n')  # the flags of a list of one class
    assert [p.path.name for p in read_voc(drawn_voc, 'train').photos] == ['1 2.png']
    assert [p.path.name for p in read_voc(drawn_voc, 'val').photos] == ['1.png', '3.png']


def test_folders_in_annotations(drawn_voc):
    """As CVAT writes them; both cameras have a picture 1."""
    for place, end in (('Annotations', '.xml'), ('JPEGImages', '.png')):
        (drawn_voc / place / 'cam1').mkdir()
        (drawn_voc / place / f'2{end}').rename(
            drawn_voc / place / 'cam1' / f'1{end.upper() if end == ".png" else end}'
        )
    xml = drawn_voc / 'Annotations' / 'cam1' / '1.xml'
    xml.write_text(xml.read_text().replace('2.png', '1').replace('<name>van<', '<name>van <'))
    (drawn_voc / 'ImageSets' / 'Main' / 'train.txt').write_text('cam1/1\n1\n')
    found = read_voc(drawn_voc, 'train')
    assert [str(p.path.relative_to(drawn_voc / 'JPEGImages')) for p in found.photos] == [
        'cam1/1.PNG',
        '1.png',
    ]
    assert [p.ids for p in found.photos] == [(3,), (2, 1)] and found.label_map == {
        1: 'cat',
        2: 'dog',
        3: 'van',
    }
    for place in ('Annotations', 'JPEGImages'):
        (drawn_voc / place / '.ipynb_checkpoints').mkdir()
    (drawn_voc / 'Annotations' / '.ipynb_checkpoints' / '1-checkpoint.xml').write_text(
        xml.read_text()
    )
    assert len(read_voc(drawn_voc).photos) == 3


def given(name):
    """(Source, changes) of a folder of inputs as other programs write them."""
    folder = official.bug_input(name)
    source = read_voc(folder)
    return source, {change: count for change, count in source.changes.items() if count}


NUT, BOLT = [12, 10, 60, 50], [20, 55, 70, 85]


@pytest.mark.parametrize(
    ('name', 'changes', 'images'),
    [
        ('voc_no_size', {Change.SIZE_MEASURED: 2}, ['1.png', '2.png']),
        ('voc_odd_endings', {Change.SPELLING: 1}, ['1.Jpg', '2.jfif', '3.JPEG']),
        ('voc_other_xml_beside', {Change.OTHER_FILE: 1}, ['1.png', '2.png']),
        ('voc_pets_xmls', {}, ['1.png', '2.png']),
        ('voc_polygon_only', {Change.POLYGON: 2}, ['1.png', '2.png']),
        ('voc_size_zero_wrong_ending', {Change.SIZE_MEASURED: 2}, ['1.jpg', '2.jpg']),
    ],
)
def test_what_programs_write(name, changes, images):
    """Images of 96x80 pixels with a nut and a bolt each."""
    source, found = given(name)
    assert [photo.path.name for photo in source.photos] == images
    for photo in source.photos:
        assert (photo.height, photo.width) == (80, 96)
        assert photo.boxes.tolist() == [NUT, BOLT]
        assert [source.label_map[i] for i in photo.ids] == ['nut', 'bolt']
    assert found == changes


def test_renamed_files_whose_filename_was_not_changed():
    source, changes = given('voc_filename_of_another_picture')
    assert [photo.path.name for photo in source.photos] == ['1.png', '2.png']
    assert [source.label_map[photo.ids[0]] for photo in source.photos] == ['nut', 'bolt']
    assert changes == {Change.OTHER_IMAGE: 2}


def test_swapped_corners_are_put_right():
    source, changes = given('voc_reversed_corners')
    assert changes == {Change.REVERSED_BOX: 2}
    assert all(NUT in photo.boxes.tolist() for photo in source.photos)


def test_copies_whose_filename_was_not_changed():
    source, _ = given('voc_augmented_copies_keep_filename')
    boxes = {photo.path.name: photo.boxes.tolist() for photo in source.photos}
    assert sorted(boxes) == ['a.png', 'a_flip.png']
    assert [xmin for _, xmin, _, _ in boxes['a_flip.png']] == [56]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('voc_cp1252_undeclared', r'1\.xml: not text in UTF-8.*save it as UTF-8'),
        ('voc_unknown_encoding', r'1\.xml: its encoding is not known: .*utf8mb4'),
    ],
)
def test_other_encodings_are_named(name, message):
    with pytest.raises(DataError, match=message):
        given(name)


@pytest.mark.parametrize('encoding', ['cp1252', 'utf-16', 'utf-8-sig', 'gbk'])
def test_stated_encodings_are_read(drawn_voc, encoding):
    path = drawn_voc / 'Annotations' / '2.xml'
    text = path.read_text().replace('van', 'Zug')
    declared = 'utf-8' if encoding == 'utf-8-sig' else encoding
    path.write_bytes(f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding))
    if encoding == 'gbk':  # Python's parser knows no encoding of several bytes
        with pytest.raises(DataError, match=r'2\.xml: its encoding is not known.*save it as UTF-8'):
            read_voc(drawn_voc)
    else:
        assert 'Zug' in read_voc(drawn_voc).label_map.values()


def _outline(drawn_voc, outline):
    """The data set with another outline in place of the bndbox of the second photo."""
    path = drawn_voc / 'Annotations' / '2.xml'
    before, _, rest = path.read_text().partition('<bndbox>')
    path.write_text(f'{before}{outline}{rest.partition("</bndbox>")[2]}')
    return read_voc(drawn_voc)


@pytest.mark.parametrize(
    'outline',
    [
        '<polygon><x1>3</x1><y1>2</y1><x2>9.5</x2><y2>4</y2><x3>5</x3><y3>8</y3></polygon>',
        '<polygon><pt><x>3</x><y>2</y></pt><pt><x>9.5</x><y>8</y></pt></polygon>',
        '<robndbox><cx>6.25</cx><cy>5</cy><w>6.5</w><h>6</h><angle>0</angle></robndbox>',
        '<robndbox><cx>6.25</cx><cy>5</cy><w>6</w><h>6.5</h><angle>1.5707963</angle></robndbox>',
    ],
    ids=['numbered', 'points', 'rotated by 0', 'rotated by 90 degrees'],
)
def test_the_box_around_an_outline(drawn_voc, outline):
    source = _outline(drawn_voc, outline)
    np.testing.assert_allclose(source.photos[1].boxes, [[2, 3, 8, 9.5]], atol=1e-6)
    assert source.changes == {Change.POLYGON: 1}


def test_parts_of_an_object_have_boxes_of_their_own(drawn_voc):
    part = '<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><bndbox>'
    path = drawn_voc / 'Annotations' / '1.xml'
    path.write_text(path.read_text().replace('<bndbox>', part))
    source = read_voc(drawn_voc)
    np.testing.assert_array_equal(source.photos[0].boxes, [[2, 1, 6, 4], [4, 4, 9, 9]])
    assert 'head' not in source.label_map.values()


@pytest.mark.parametrize('outline', ['', '<polygon></polygon>', '<polygon><x1>3</x1></polygon>'])
def test_an_object_without_a_box_is_named(drawn_voc, outline):
    with pytest.raises(DataError, match=r'2\.xml, object 1: (bndbox/ymin must be|its polygon has)'):
        _outline(drawn_voc, outline)


def test_two_files_of_one_image_are_named(drawn_voc):
    (drawn_voc / 'JPEGImages' / '2.png').unlink()
    path = drawn_voc / 'Annotations' / '2.xml'
    path.write_text(path.read_text().replace('2.png', '1.png'))
    with pytest.raises(DataError, match=r'1\.xml and .*2\.xml both belong to the image .*1\.png'):
        read_voc(drawn_voc)


def test_all_broken_files_are_named_at_once(drawn_voc):
    for name in '13':
        (drawn_voc / 'Annotations' / f'{name}.xml').write_text('')
    with pytest.raises(DataError, match=r'(?s)2 faults:.*1\.xml: not an xml.*3\.xml: not an xml'):
        read_voc(drawn_voc)
    (drawn_voc / 'Annotations' / '2.xml').write_text('<labels/>')
    (drawn_voc / 'Annotations' / '1.xml').write_text('<labels/>')
    (drawn_voc / 'Annotations' / '3.xml').unlink()
    with pytest.raises(DataError, match='none of 2 xml files is of VOC'):
        read_voc(drawn_voc)


def test_hidden_files_of_macos_are_no_annotations(drawn_voc):
    (drawn_voc / 'Annotations' / '._1.xml').write_bytes(b'\0\5\x16\7Mac OS X')
    assert len(read_voc(drawn_voc).photos) == 3


def test_lists_may_name_images_and_name_them_twice(drawn_voc):
    (drawn_voc / 'ImageSets' / 'Main' / 'train.txt').write_text('1.png 1\n3.PNG -1\n1.png 1\n')
    assert [p.path.name for p in read_voc(drawn_voc, 'train').photos] == ['1.png', '3.png']


def test_entities_do_not_grow(drawn_voc):
    levels = ''.join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' if i else '<!ENTITY a0 "ha">' for i in range(12)
    )
    path = drawn_voc / 'Annotations' / '1.xml'
    path.write_text(f'<!DOCTYPE x [{levels}]><annotation><filename>&a11;</filename></annotation>')
    with pytest.raises(DataError, match=r'1\.xml: not an xml file'):
        read_voc(drawn_voc)
