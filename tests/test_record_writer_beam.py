"""The Beam pipeline makes the files that write_records makes."""

import drawn
import pytest

from keras_efficientdet import DataError, read_coco, write_records
from keras_efficientdet.data import record_writer, record_writer_beam
from keras_efficientdet.data.record_writer_beam import write_records_beam

beam = pytest.importorskip('apache_beam', reason='the `beam` extra is not installed')


def test_the_same_files(real, tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, 'PHOTOS_PER_SHARD', 3)
    source = read_coco(real('coco_mini/annotations/val.json'), real('coco_mini/images'))
    expected = write_records(source, tmp_path / 'threads', progress=False)
    assert write_records_beam(source, tmp_path / 'beam') == expected
    files = sorted(p.name for p in (tmp_path / 'beam').iterdir())
    assert len(files) == 4 and files == sorted(p.name for p in (tmp_path / 'threads').iterdir())
    for name in files:
        assert (tmp_path / 'beam' / name).read_bytes() == (tmp_path / 'threads' / name).read_bytes()


def test_a_fault_leaves_nothing(tmp_path):
    annotations, images = drawn.write_coco(
        tmp_path / 'drawn', [(20, 30, [drawn.box(1, 2, 3, 4)])] * 2
    )
    (images / '2.png').write_text('no picture')
    with pytest.raises(DataError, match=r'2\.png: cannot be read as an image'):
        write_records_beam(read_coco(annotations, images), tmp_path / 'out' / 'records')
    assert list((tmp_path / 'out').iterdir()) == []


def test_all_faults_are_named_and_what_dead_workers_leave_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, 'PHOTOS_PER_SHARD', 1)
    annotations, images = drawn.write_coco(
        tmp_path / 'drawn', [(20, 30, [drawn.box(1, 2, 3, 4)])] * 3
    )
    source = read_coco(annotations, images)
    usual = record_writer.shard_names

    def with_a_leftover(source):
        (folder,) = (tmp_path / 'out').iterdir()
        (folder / f'writing-{"0" * 32}').write_bytes(b'half a record')
        return usual(source)

    monkeypatch.setattr(record_writer_beam, 'shard_names', with_a_leftover)
    assert write_records_beam(source, tmp_path / 'out' / 'records')['images'] == 3
    written = sorted(path.name for path in (tmp_path / 'out' / 'records').iterdir())
    assert written == sorted(['dataset.json', *usual(source)])
    for name in '12':
        (images / f'{name}.png').write_bytes(b'')
    monkeypatch.setattr(record_writer_beam, 'shard_names', usual)
    with pytest.raises(DataError, match=r'(?s)2 faults:.*1\.png.*2\.png'):
        write_records_beam(source, tmp_path / 'other' / 'records')
