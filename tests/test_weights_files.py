"""Checkpoint files: hostile or damaged archives, h5 files that Keras split, names of objects."""

import io
import tarfile

import h5py
import numpy as np
import pytest

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.files import read_checkpoint, write_checkpoint

VALUES = {'net/kernel': np.arange(6, dtype=np.float32).reshape(2, 3), 'global_step': np.int64(3)}


def pack(path, members, mode='w:gz'):
    with tarfile.open(path, mode) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, link=''):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def packed(folder, ending, mode):
    write_checkpoint(folder / 'unpacked' / 'model', VALUES)
    with tarfile.open(folder / f'weights{ending}', mode) as tar:
        tar.add(folder / 'unpacked', 'efficientdet-d0')
    return folder / f'weights{ending}'


@pytest.mark.parametrize(
    ('ending', 'mode'), [('.tar.gz', 'w:gz'), ('.tgz', 'w:gz'), ('.tar.xz', 'w:xz')]
)
def test_archives_hold_what_their_folder_holds(tmp_path, ending, mode):
    found = read_checkpoint(packed(tmp_path, ending, mode))
    assert found.keys() == VALUES.keys()
    assert all(
        np.array_equal(found[name], value) and found[name].dtype == value.dtype
        for name, value in VALUES.items()
    )


@pytest.mark.parametrize(
    'bad',
    [
        member('../evil'),
        member('folder/../../evil'),
        member('/tmp/evil'),
        member('evil', tarfile.SYMTYPE, '/etc/passwd'),
        member('evil', tarfile.LNKTYPE, 'other'),
        member('evil', tarfile.FIFOTYPE),
        member('evil', tarfile.CHRTYPE),
    ],
    ids=['up', 'in and up', 'absolute', 'symbolic link', 'hard link', 'pipe', 'device'],
)
def test_hostile_archives_are_refused(tmp_path, bad):
    path = pack(tmp_path / 'evil.tar.gz', [(bad, b'')])
    with pytest.raises(CheckpointError, match=r'evil\.tar\.gz: refused to unpack .*evil'):
        read_checkpoint(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_cannot_name_a_checkpoint_outside_of_it(tmp_path):
    write_checkpoint(tmp_path / 'secret' / 'model', VALUES)
    path = pack(
        tmp_path / 'sly.tar.gz',
        [
            (member('a/checkpoint'), f'model_checkpoint_path: "{tmp_path}/secret/model"'.encode()),
            (member('a/model.index'), b''),
        ],
    )
    with pytest.raises(CheckpointError, match=r'sly\.tar\.gz: .*not in the archive'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'words'), [(b'', 'cannot be unpacked'), (b'no archive', 'cannot be unpacked')]
)
def test_what_is_no_archive_is_named(tmp_path, content, words):
    (tmp_path / 'broken.tgz').write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path / 'broken.tgz')


def test_half_an_archive_and_an_empty_one_are_named(tmp_path):
    path = packed(tmp_path, '.tar.xz', 'w:xz')
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        CheckpointError, match=r'weights\.tar\.xz: cannot be unpacked, perhaps cut off'
    ):
        read_checkpoint(path)
    with pytest.raises(
        CheckpointError, match=r"expected one checkpoint .*found 0 among \['readme'\]"
    ):
        read_checkpoint(pack(tmp_path / 'other.tgz', [(member('readme'), b'hello')]))


def test_a_folder_with_one_checkpoint_needs_no_state_file(tmp_path):
    write_checkpoint(tmp_path / 'first', VALUES)
    (tmp_path / 'checkpoint').unlink()
    assert read_checkpoint(tmp_path).keys() == VALUES.keys()
    write_checkpoint(tmp_path / 'second', {'other': np.zeros(1, np.float32)})
    assert read_checkpoint(tmp_path).keys() == {'other'}
    (tmp_path / 'checkpoint').unlink()
    with pytest.raises(CheckpointError, match=r'first\.index.*second\.index'):
        read_checkpoint(tmp_path)


def test_writing_again_replaces_a_checkpoint_and_leaves_nothing_else(tmp_path):
    for step in (1, 2):
        write_checkpoint(tmp_path / 'model', {'global_step': np.int64(step)})
    assert read_checkpoint(tmp_path)['global_step'] == 2
    assert len(list(tmp_path.iterdir())) == 3


def write_h5(path, names_of_layer):
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = ['a']
        group = file.create_group('a')
        for key, names in names_of_layer.items():
            group.attrs[key] = names
            for name in names:
                group[name] = VALUES['net/kernel']
    return path


def test_h5_names_that_keras_cut_into_pieces(tmp_path):
    path = write_h5(
        tmp_path / 'x.h5', {'weight_names0': ['a/b/kernel:0'], 'weight_names1': [b'a/c/bias:0']}
    )
    found = read_checkpoint(path)
    assert found.keys() == {'a/b/kernel', 'a/c/bias'}
    np.testing.assert_array_equal(found['a/c/bias'], VALUES['net/kernel'])


def test_h5_files_of_another_kind_are_named(tmp_path, small_model):
    small_model.save_weights(str(tmp_path / 'ours.weights.h5'))
    with pytest.raises(CheckpointError, match=r'ours\.weights\.h5: .*model\.load_weights'):
        read_checkpoint(tmp_path / 'ours.weights.h5')
    path = write_h5(tmp_path / 'holes.h5', {'weight_names': ['a/b/kernel:0']})
    with h5py.File(path, 'a') as file:
        del file['a']['a/b/kernel:0']
    with pytest.raises(CheckpointError, match=r'holes\.h5: cannot be read as h5 weights.*kernel'):
        read_checkpoint(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(CheckpointError, match=r'holes\.h5: cannot be read as h5 weights'):
        read_checkpoint(path)
