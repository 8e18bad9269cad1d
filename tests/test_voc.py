"""Pascal VOC: recorded outputs of the official converter, real data, other layouts, faults."""

import tarfile

import drawn
import numpy as np
import other_formats
import pytest

from keras_efficientdet import DataError, read_coco, read_voc
from keras_efficientdet.config.label_maps import LABEL_MAPS


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
        ('<height>20</height>', '', r'1\.xml: size/height must be a number, found None'),
        (
            '<width>30</width>',
            '<width>0</width>',
            r'1\.xml: size is 0x20 \(width x height\), it must be positive',
        ),
        (
            '<xmax>9.0</xmax>',
            '<xmax>nine</xmax>',
            r"1\.xml, object 2: bndbox/xmax must be a number, found 'nine'",
        ),
        ('<bndbox>', '<polygon>', r'1\.xml: not an xml file: mismatched tag: line 1'),
        (
            'annotation>',
            'annotations>',
            r'1\.xml: not a VOC file, expected <annotation>, found <annotations>',
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
