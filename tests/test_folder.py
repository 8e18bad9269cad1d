"""What a folder is taken for, and why; what is said where that cannot be known."""

import dataclasses
import json
import shutil

import drawn
import other_formats
import pytest

from keras_efficientdet import DataError, read_coco, read_folder, write_records
from keras_efficientdet.data.formats.folder import formats_of


@pytest.fixture
def source(tmp_path):
    photos = [
        (20, 30, [drawn.box(1, 2, 3, 4, 18)]),
        (20, 30, [drawn.box(1, 2, 3, 4, 1)]),
        (9, 8, [drawn.box(1, 2, 3, 4, 400)]),
    ]
    return read_coco(*drawn.write_coco(tmp_path / 'drawn', photos))


def coco(source, folder):
    """The folder that `source` was read from."""
    return source.photos[0].path.parents[1]


@pytest.mark.parametrize(
    ('write', 'kind', 'reason'),
    [
        (coco, 'coco', 'instances.json in'),
        (other_formats.write_voc, 'voc', '1.xml, 2.xml, 3.xml in'),
        (other_formats.write_yolo, 'yolo', 'data.yaml'),
        (other_formats.write_csv, 'csv', 'all.csv in'),
    ],
    ids=['coco', 'voc', 'yolo', 'csv'],
)
def test_each_format_is_recognised_and_the_reason_logged(
    source, tmp_path, caplog, write, kind, reason
):
    folder = write(source, tmp_path / 'mine')
    with caplog.at_level('INFO', 'keras_efficientdet'):
        other_formats.assert_same(read_folder(folder), source)
    (logged,) = caplog.messages
    assert logged.startswith(f'{folder}: read as {kind}, because of ') and reason in logged


def test_real_folders_with_several_files(real):
    folder = real('bccd')
    with pytest.raises(
        DataError, match=r'several files, .*test\.json.*name the split as in .*bccd/train'
    ):
        read_folder(folder)
    expected = read_coco(folder / 'annotations' / 'test.json', folder / 'images')
    assert len(expected.photos) == 72
    other_formats.assert_same(read_folder(folder, 'test'), expected)
    other_formats.assert_same(read_folder(folder / 'annotations' / 'test.json'), expected)


def test_splits_go_by_several_names(source, tmp_path):
    voc = other_formats.write_voc(source, tmp_path / 'voc', {'train': 1, 'val': 2})
    assert (
        len(read_folder(voc, 'validation').photos) == 2
        and len(read_folder(voc, 'train').photos) == 1
    )
    yolo = other_formats.write_yolo(source, tmp_path / 'yolo', 'valid')
    assert len(read_folder(yolo, 'val').photos) == len(read_folder(yolo).photos) == 3
    csv = other_formats.write_csv(source, tmp_path / 'csv')
    lines = (csv / 'all.csv').read_text().splitlines()
    (csv / 'my_train_boxes.csv').write_text('\n'.join(lines[:2]))
    (csv / 'all.csv').rename(csv / 'test.csv')
    assert read_folder(csv, 'train').label_map == {1: 'cat', 2: 'dog', 3: 'van'}  # of both tables
    with pytest.raises(
        DataError, match=r"no single file of split 'val' among my_train_boxes\.csv, test\.csv"
    ):
        read_folder(csv, 'val')


def test_a_folder_of_folders(source, tmp_path):
    (tmp_path / 'all').mkdir()
    other_formats.write_voc(source, tmp_path / 'all' / 'valid')
    other_formats.assert_same(read_folder(tmp_path / 'all', 'val'), source)
    devkit = tmp_path / 'VOCdevkit'
    other_formats.write_voc(source, devkit / 'VOC2012', {'train': 1, 'val': 2})
    assert len(read_folder(devkit, 'val').photos) == 2
    with pytest.raises(DataError, match='several splits, train, val; name the split'):
        read_folder(devkit)


@pytest.mark.parametrize('name', ['{}.json', 'instances_{}2017.json'])
@pytest.mark.parametrize('kind', ['coco', 'csv'])
def test_pictures_of_equal_names_are_those_of_the_split(tmp_path, kind, name):
    """train/1.png and val/1.png: the first is 20 high, the second 30."""
    for split, height in (('train', 20), ('val', 30)):
        drawn.write_coco(tmp_path / split, [(height, 30, [drawn.box(1, 2, 3, 4, 18)])] * 2)
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / split / 'images').rename(tmp_path / 'images' / f'{split}2017')
        file = tmp_path / 'annotations' / name.format(split)
        file.parent.mkdir(exist_ok=True)
        if kind == 'coco':
            (tmp_path / split / 'instances.json').rename(file)
        else:
            file.with_suffix('.csv').write_text(
                'path,xmin,ymin,xmax,ymax,class\n1.png,1,2,4,6,cat\n2.png,1,2,4,6,cat\n'
            )
        shutil.rmtree(tmp_path / split)
    for split in ('train', 'val'):
        found = read_folder(tmp_path, split, kind).photos
        assert [p.path.parent.name for p in found] == [f'{split}2017'] * 2
        assert {p.height for p in found} == {20 if split == 'train' else 30}
    (tmp_path / 'images' / 'val2017' / '2.png').unlink()  # train has one of that name
    with pytest.raises(DataError, match=r'val2017/2\.png: there is no such|2\.png.*val2017'):
        write_records(read_folder(tmp_path, 'val', kind), tmp_path / 'records')


@pytest.mark.parametrize('write', [other_formats.write_voc, other_formats.write_csv])
def test_splits_in_folders_of_their_own_have_the_same_ids(source, tmp_path, write):
    """valid/ lacks the first class, and then has classes of VOC only."""
    named = dataclasses.replace(source, label_map={1: 'anvil', 18: 'dog', 400: 'person'})
    write(named, tmp_path / 'train')
    write(
        dataclasses.replace(named, photos=[p for p in named.photos if 1 not in p.ids]),
        tmp_path / 'valid',
    )
    write(
        dataclasses.replace(named, label_map={1: 'zebra', 18: 'yak', 400: 'xerus'}),
        tmp_path / 'backup',
    )
    for place in (tmp_path / 'train', tmp_path / 'valid', (tmp_path, 'val')):
        found = read_folder(*place) if isinstance(place, tuple) else read_folder(place)
        assert found.label_map == {1: 'anvil', 2: 'dog', 3: 'person'}


def test_two_formats_in_one_folder(source, tmp_path):
    folder = other_formats.write_yolo(source, tmp_path / 'mine')
    (folder / 'all.csv').write_text(
        'path,xmin,ymin,xmax,ymax,class\nimages/train/1.png,1,2,3,4,cat\n'
    )
    with pytest.raises(
        DataError, match=r'could be several formats: csv \(all\.csv in .*\); yolo \(.*data\.yaml\)'
    ):
        read_folder(folder)
    assert len(read_folder(folder, kind='yolo').photos) == 3
    assert (
        len(read_folder(folder, kind='csv').photos)
        == len(read_folder(folder / 'all.csv').photos)
        == 1
    )


def test_what_was_looked_for_and_found(source, tmp_path):
    (tmp_path / 'odd').mkdir()
    (tmp_path / 'odd' / 'notes.json').write_text(json.dumps({'images': []}))
    (tmp_path / 'odd' / 'empty.json').touch()
    assert formats_of(tmp_path / 'odd') == {}
    with pytest.raises(
        DataError,
        match=r'no data set of a known format; looked for coco .*; found empty\.json, notes',
    ):
        read_folder(tmp_path / 'odd')
    with pytest.raises(DataError, match='no voc data set'):
        read_folder(tmp_path / 'drawn', kind='voc')
    with pytest.raises(DataError, match='nowhere: no such folder or file'):
        read_folder(tmp_path / 'nowhere')
    with pytest.raises(DataError, match='holds TFRecords, which need no reader'):
        read_folder(drawn.records(tmp_path / 'more', [(9, 9, [])]))


def test_pictures_that_are_nowhere(source, tmp_path):
    source.photos[0].path.parent.rename(tmp_path / 'elsewhere')
    with pytest.raises(
        DataError, match=r"instances\.json: its images, like \['1\.png'\], are in none of"
    ):
        read_folder(tmp_path / 'drawn')


def test_tables_of_all_splits_number_classes_alike(source, tmp_path):
    """Given as folder/split or as the file itself.

    Other tables beside them do not count, a list of classes does.
    """
    folder = other_formats.write_csv(source, tmp_path / 'mine')
    header, *rows = (folder / 'all.csv').read_text().splitlines()
    (folder / 'all.csv').unlink()
    for name, part in (('train.csv', rows), ('val.csv', [row for row in rows if 'dog' in row])):
        (folder / name).write_text('\n'.join([header, *part]))
    for name, text in (
        ('results.csv', 'epoch,loss\n1,2\n'),
        ('counts.csv', '1.png,3\n2.png,1\n'),
        ('empty.csv', ''),
    ):
        (folder / name).write_text(text)
    for place in ((folder, 'val'), (folder / 'val.csv', None)):
        assert read_folder(*place).label_map == {1: 'cat', 2: 'dog', 3: 'van'}
        assert set(read_folder(*place).photos[0].ids) == {2}
    (folder / 'classes.csv').write_text('van,0\ncat,1\ndog,2\n')  # keras-retinanet's
    for place in ((folder, 'val'), (folder / 'val.csv', None)):
        assert list(read_folder(*place).label_map.items())[:2] == [(0, 'van'), (1, 'cat')]


def test_the_list_of_classes_that_each_split_has(source, tmp_path):
    """Ids instead of names, and the same list in each folder."""
    numbers = dataclasses.replace(source, label_map={1: '1', 18: '2', 400: '0'})
    for split in ('train', 'valid'):
        folder = other_formats.write_csv(numbers, tmp_path / split)
        (folder / '_classes.csv').write_text('van,0\ncat,1\ndog,2\n')
    for found in (read_folder(tmp_path / 'train'), read_folder(tmp_path, 'val')):
        assert found.label_map == {0: 'van', 1: 'cat', 2: 'dog'}
        other_formats.assert_same(found, source)


@pytest.mark.parametrize(
    ('program', 'content'),
    [
        ('VIA', {'_via_settings': {}, '_via_img_metadata': {}}),
        ('VIA', {'a.png7': {'filename': 'a.png', 'regions': [{'shape_attributes': {}}]}}),
        ('labelme', {'shapes': [], 'imagePath': 'a.png'}),
        ('VoTT', {'assets': {'1': {'regions': [{'boundingBox': {}}]}}}),
        ('Label Studio', [{'id': 1, 'data': {}, 'annotations': [{'result': []}]}]),
        ('Labelbox', [{'data_row': {}, 'projects': {}}]),
        ('Supervisely', {'objects': [{'points': {'exterior': []}}]}),
        ('CreateML', [{'image': 'a', 'annotations': [{'label': 'b', 'coordinates': {}}]}]),
    ],
)
def test_files_of_other_programs_are_named(tmp_path, program, content):
    (tmp_path / 'mine.json').write_text(json.dumps(content))
    for place in (tmp_path, tmp_path / 'mine.json'):
        with pytest.raises(DataError, match=rf'mine\.json is in the own format of {program}.*COCO'):
            read_folder(place)
