"""The command line itself: list of commands, help, errors, settings, messages, and the shims."""

import importlib.util
import json
import logging
import sys
import types

import command_line
import little
import numpy as np
import official
import pytest
from PIL import Image

from keras_efficientdet import efficientdet, load_config
from keras_efficientdet.commands import command, main

EXAMPLES = [name for name in main.COMMANDS if name not in ('models', 'version')]
# Commands that were scripts once have one still.
SHIMS = {
    name: 'make_records' if name == 'records' else name for name in EXAMPLES if name != 'ablation'
}


@pytest.fixture
def messages(capsys):
    """The function (arguments): exit status, stdout and stderr of a command in this process."""

    def call(*arguments):
        status = main.run([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return call


def echo(define, result=None):
    """A command that returns what it was given."""

    def run(given):
        logging.getLogger('keras_efficientdet.data').info('reading %s', 'records')
        print('printed by a library')
        return command.Outcome({'set': given.set, 'found': result}, failed=result == 'faults')

    return types.SimpleNamespace(__doc__='Echoes.', define=define, main=run)


def define_both(flags):
    command.define_set(flags, 'key=value.')
    command.define_json(flags)


@pytest.mark.parametrize('arguments', [[], ['--help'], ['-h'], ['help']])
def test_the_commands_are_listed(arguments, messages):
    status, stdout, stderr = messages(*arguments)
    assert status == 0 and stderr == ''
    for name in main.COMMANDS:
        assert f'\n  {name} ' in stdout


def test_every_command_is_listed_and_has_a_file():
    shared = {'__init__', 'main', 'command', 'set_aside', 'engine_timing'}
    files = {p.stem for p in command_line.TOOLS.parent.glob('keras_efficientdet/commands/*.py')}
    assert files - shared == set(main.COMMANDS)


def test_an_unknown_command_names_the_nearest(messages):
    assert messages('trian')[2] == "error: unknown command 'trian'; did you mean train?\n"
    status, _, stderr = messages('xyz')
    assert status == 1 and 'valid: train, evaluate' in stderr


def test_the_list_and_unknown_commands_need_no_tensorflow():
    code = (
        'import sys; sys.argv = ["/usr/bin/efficientdet"]\n'
        'from keras_efficientdet.commands.main import run\n'
        'assert run(["--help"]) == 0 and run(["trian"]) == 1\n'
        'assert "tensorflow" not in sys.modules and "keras" not in sys.modules\n'
    )
    done = command_line._started([sys.executable, '-c', code], None)
    assert done.returncode == 0, done.stderr


def test_help_lists_the_commands_without_noise():
    done = command_line.start('--help')
    assert done.returncode == 0 and done.stderr == ''
    assert done.stdout.startswith('usage: efficientdet COMMAND')


@pytest.mark.parametrize('name', list(main.COMMANDS))
def test_help_shows_an_example_and_the_flags(name, messages):
    status, stdout, _ = messages(name, '--help')
    assert status == 0
    text, _, listed = stdout.partition('flags:')
    assert f'efficientdet {name} --' in text
    listed = listed.replace('--[no]', '--')
    flags = {word.partition('=')[0] for word in text.split() if word.startswith('--')}
    assert all(f'  {flag}:' in listed for flag in flags)
    assert len(flags) >= 2 or name not in EXAMPLES


@pytest.mark.parametrize('name', SHIMS)
def test_the_tools_are_the_commands(name):
    """One of them runs below; the others differ from it by the name alone."""
    text = (command_line.TOOLS / f'{SHIMS[name]}.py').read_text()
    train = (command_line.TOOLS / 'train.py').read_text()
    assert text.replace(SHIMS[name], 'X').replace(name, 'X') == train.replace('train', 'X')


@pytest.mark.parametrize('tool', ['train', 'show_batch', 'draw_data', 'demo'])
def test_a_tool_runs_without_noise(tool):
    done = command_line.start_tool(tool, '--help')
    assert done.returncode == 0 and done.stderr == ''
    assert '\n  --' in done.stdout


ON_NO_DATA = ['train', '--train=no_records', '--workdir=w']


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (
            ['records', '--annotations=nowhere.json', '--images=.', '--output=out'],
            'nowhere.json: no such annotation file',
        ),
        (
            ['records', '--input=.', '--format=voc', '--output=out'],
            '.: no voc data set; looked for coco',
        ),
        (['records', '--input=.', '--images=.', '--output=out'], 'give either --input'),
        (['doctor', 'batch_size=8'], 'give --train, or --annotations and --images'),
        ([*ON_NO_DATA, '--set=learning_rat=1'], 'did you mean train.learning_rate?'),
        ([*ON_NO_DATA, 'learning_rat=1'], 'did you mean train.learning_rate?'),
        ([*ON_NO_DATA, '--hparams=learning_rat=1'], 'unknown official key'),
        ([*ON_NO_DATA, '--auto_batch', '--set=batch_size=8'], '--auto_batch chooses'),
        ([*ON_NO_DATA, '--valid=v', '--recipe=finetune'], '--recipe=finetune starts from weights'),
        ([*ON_NO_DATA], 'no_records: no TFRecord files'),
        ([*ON_NO_DATA, 'photos'], "unexpected argument 'photos': expected a --flag or key=value"),
        (['train', '--workdir=w'], '--train must have a value'),
        (['train', '--epochs=3'], "Unknown command line flag 'epochs'"),
        (['evaluate', '--model=no_model', '--data=d'], 'no_model/config.yaml does not exist'),
        (
            ['detect', '--model=m', '--images=no_photos/*.jpg', '--output=o'],
            'no_photos/*.jpg: no ',
        ),
        (['detect', '--model=m', '--output=o'], 'give either --images or --list'),
        (['export', '--model=no_model', '--output=o'], 'no_model/config.yaml does not exist'),
        (
            ['export', '--model=m', '--output=o', '--format=onnx', '--data=d'],
            '--data does not go with --format=onnx',
        ),
        (['models', 'a=1'], "unexpected argument 'a=1': expected a --flag"),
        (['benchmark', '--model=m', '--output=o', '--engines=torch'], "['torch'] not among"),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_bad_input_is_one_line_and_status_1(arguments, named, messages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('KERAS_EFFICIENTDET_TRACEBACK', raising=False)
    status, _, stderr = messages(*arguments)
    assert status == 1
    (line,) = stderr.strip().splitlines()
    assert line.startswith('error: ') and named in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('started', [command_line.start, command_line.start_tool])
def test_bad_input_in_a_process(started, tmp_path):
    done = started('evaluate', '--model=no_model', '--data=d', cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ''
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith('error: no_model/config.yaml does not exist')


def test_the_traceback_is_there_for_those_who_want_it(monkeypatch):
    monkeypatch.setenv('KERAS_EFFICIENTDET_TRACEBACK', '1')
    with pytest.raises(FileNotFoundError, match=r'no_model/config\.yaml'):
        main.run(['evaluate', '--model=no_model', '--data=d'])


@pytest.mark.parametrize(
    ('arguments', 'wanted'),
    [
        ([], []),
        (['--set=a=1', 'b=2', 'c=[3,4]'], ['a=1', 'b=2', 'c=[3,4]']),
        (['b=2', '--set=a=1', '--json'], ['a=1', 'b=2']),
        (['detect=fast', '--set', 'a=--x'], ['a=--x', 'detect=fast']),
    ],
)
def test_words_set_the_configuration_as_set_does(arguments, wanted, capsys):
    arguments = [*arguments, '--json']
    assert command.run(echo(define_both), 'efficientdet echo', arguments) == 0
    assert json.loads(capsys.readouterr().out)['set'] == wanted


def test_home_in_paths(monkeypatch, capsys):
    """Bash leaves --output=~/found as it is, and quotes prevent it everywhere."""
    monkeypatch.setenv('HOME', '/home/ada')

    def define(flags):
        flags.DEFINE_string('output', None, 'A folder.')
        flags.DEFINE_string('default', '~/cache', 'A folder.')
        flags.DEFINE_multi_string('input', [], 'Folders.')
        flags.DEFINE_bool('json', False, 'As JSON.')

    def main(given):
        found = {key: given[key].value for key in ('output', 'default', 'input')}
        return command.Outcome(found)

    module = types.SimpleNamespace(define=define, main=main)
    arguments = ['--output=~/found', '--input=~/a', '--input=b~', '--json']
    assert command.run(module, 'efficientdet echo', arguments) == 0
    assert json.loads(capsys.readouterr().out) == {
        'output': '/home/ada/found',
        'default': '/home/ada/cache',
        'input': ['/home/ada/a', 'b~'],
    }


def test_a_tilde_is_never_the_name_of_a_folder(tmp_path, monkeypatch):
    official.bug_input('tilde_in_flags')
    monkeypatch.setenv('HOME', str(tmp_path))
    photos = tmp_path / 'photos'
    photos.mkdir()
    Image.new('RGB', (90, 60)).save(photos / '1.png')
    small = {**little.TINY, 'backbone_name': 'efficientnet-lite0'}
    efficientdet(load_config('efficientdet-lite0', small)).save(tmp_path / 'net.keras')
    flags = '--model=~/net.keras', '--images=~/photos/*.png', '--output=~/found'
    assert command_line.start('detect', *flags, cwd=photos).returncode == 0
    assert (tmp_path / 'found' / 'detections.json').is_file()
    assert sorted(path.name for path in photos.iterdir()) == ['1.png']


def test_class_names_beyond_the_encoding_of_the_console(monkeypatch, tmp_path):
    """As on Windows when output goes to a file: cp1252 has ö and ß, and no katakana."""
    folder = official.bug_input('class_names_beyond_the_consoles_encoding')
    monkeypatch.setenv('PYTHONIOENCODING', 'cp1252')
    monkeypatch.setenv('KERAS_HOME', str(tmp_path))
    done = command_line.start('doctor', f'--train={folder}', encoding='cp1252')
    assert 'Error' not in done.stderr
    assert '\\u30ca\\u30c3\\u30c8' in done.stdout and 'Größe' in done.stdout


def test_json_is_alone_on_stdout(capsys):
    assert command.run(echo(define_both, 'faults'), 'efficientdet echo', ['--json']) == 1
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout) == {'set': [], 'found': 'faults'}
    assert stderr == 'reading records\nprinted by a library\n'


def test_json_of_numbers_of_numpy_and_of_nan(capsys):
    found = {'AP': np.float32(0.5), 'per_class': {1: (float('nan'), np.int64(3))}, 'n': 2}
    assert command.run(echo(define_both, found), 'efficientdet echo', ['--json']) == 0
    wanted = {'AP': 0.5, 'per_class': {'1': [None, 3]}, 'n': 2}
    assert json.loads(capsys.readouterr().out)['found'] == wanted


def test_messages_are_plain_lines_on_stdout_and_once(capsys):
    log = logging.getLogger('keras_efficientdet')
    before = log.level, log.propagate, list(log.handlers)
    assert command.run(echo(define_both), 'efficientdet echo', []) == 0
    assert capsys.readouterr() == ('reading records\nprinted by a library\n', '')
    assert (log.level, log.propagate, log.handlers) == before


@pytest.mark.skipif(importlib.util.find_spec('mlserver') is not None, reason='it is installed')
@pytest.mark.parametrize(
    ('version', 'advice'),
    [((3, 12, 1), r'keras-efficientdet\[serve\]'), ((3, 13, 0), r'no release for Python 3\.13 ')],
)
def test_a_missing_server_says_how_to_get_one(version, advice, monkeypatch, inside):
    monkeypatch.setattr(sys, 'version_info', version)
    with pytest.raises(ImportError, match=advice):
        inside('serve', '--model=exported')


def test_flags_of_two_commands_do_not_collide():
    seen = []

    def define(default):
        return lambda flags: flags.DEFINE_string('model', default, 'A model.')

    for default in ('a', 'b'):
        module = types.SimpleNamespace(
            __doc__='', define=define(default), main=lambda given: seen.append(given.model)
        )
        assert command.run(module, 'efficientdet x', []) == 0
    assert seen == ['a', 'b']
