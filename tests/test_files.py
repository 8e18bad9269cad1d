"""Files that appear whole or not at all, and engines that are not there."""

import os
import re
import socket
import threading

import pytest

from keras_efficientdet.files import (
    keras_home,
    locked,
    new_file,
    remove_unfinished,
    replaced_file,
)
from keras_efficientdet.optional import require


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_both_files_appear_at_the_end(tmp_path):
    with new_file(tmp_path / 'deep' / 'net.v2.xml', '.xml', '.bin') as (target, working):
        working.write_text('graph')
        working.with_suffix('.bin').write_text('weights')
        assert not target.exists()
    assert names(tmp_path / 'deep') == ['net.v2.bin', 'net.v2.xml']
    assert target.read_text() == 'graph' and target.with_suffix('.bin').read_text() == 'weights'


def test_nothing_stays_after_an_error(tmp_path):
    with pytest.raises(KeyError), new_file(tmp_path / 'net.xml', '.xml', '.bin') as (_, working):
        working.with_suffix('.bin').write_text('half')
        raise KeyError
    assert names(tmp_path) == []


def test_a_lock_lets_one_in(tmp_path):
    path = tmp_path / '.lock'
    for _ in range(2):  # again, since it is free afterwards
        with locked(path):
            who = rf'in use by process {os.getpid()} on {re.escape(socket.gethostname())}'
            with pytest.raises(BlockingIOError, match=who), locked(path):
                pass


def test_a_lock_that_is_waited_for(tmp_path):
    path, order = tmp_path / '.lock', []

    def second():
        with locked(path, waiting.set):
            order.append('second')

    waiting = threading.Event()
    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        order.append('first')
    thread.join(30)
    assert order == ['first', 'second']


@pytest.mark.parametrize('there', ['net.xml', 'net.bin'])
def test_what_stands_there_stays(tmp_path, there):
    (tmp_path / there).write_text('kept')
    with (
        pytest.raises(FileExistsError, match=f'{there} exists'),
        new_file(tmp_path / 'net.xml', '.xml', '.bin'),
    ):
        pass
    assert names(tmp_path) == [there] and (tmp_path / there).read_text() == 'kept'


def test_another_ending_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r'expected a path that ends in \.onnx'),
        new_file(tmp_path / 'net.xml', '.onnx'),
    ):
        pass


def test_a_file_is_replaced_whole_or_stays(tmp_path):
    path = tmp_path / 'deep' / 'best.weights.h5'
    for content in ('first', 'second'):
        with replaced_file(path) as working:
            assert working.name.endswith('.best.weights.h5')
            working.write_text(content)
    with pytest.raises(KeyError), replaced_file(path) as working:
        working.write_text('half')
        raise KeyError
    assert names(path.parent) == [path.name] and path.read_text() == 'second'


def test_processes_of_one_number_on_two_machines_do_not_meet(tmp_path):
    with replaced_file(tmp_path / 'x.json') as one, replaced_file(tmp_path / 'x.json') as two:
        assert one != two
        one.write_text('one')
        two.write_text('two')
    assert names(tmp_path) == ['x.json']
    with (
        new_file(tmp_path / 'a.xml', '.xml') as (_, one),
        new_file(tmp_path / 'a.xml', '.xml') as (_, two),
    ):
        assert one != two
        one.touch()
        two.touch()
    assert names(tmp_path) == ['a.xml', 'x.json']


def test_a_missing_engine_says_how_to_install_it():
    assert require('json', 'x').dumps([]) == '[]'
    with pytest.raises(
        ImportError, match=r'no_such_engine is needed .*pip install "keras-efficientdet\[onnx\]"'
    ):
        require('no_such_engine', 'onnx')


def test_home_of_keras(monkeypatch, tmp_path):
    monkeypatch.setenv('KERAS_HOME', str(tmp_path))
    assert keras_home() == tmp_path
    monkeypatch.delenv('KERAS_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert keras_home() == tmp_path / '.keras'


def test_only_unfinished_files_are_removed(tmp_path):
    unfinished = tmp_path / f'writing-{"0f" * 16}.best.weights.h5'
    others = [tmp_path / 'best.weights.h5', tmp_path / 'writing-notes.txt']
    for path in (unfinished, *others):
        path.touch()
    remove_unfinished(tmp_path, tmp_path / 'missing')
    assert names(tmp_path) == sorted(p.name for p in others)
