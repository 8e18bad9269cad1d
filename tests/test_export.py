"""Models that leave Python: exported, saved, read again, and equal."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import (
    Config,
    Detector,
    efficientdet,
    export_savedmodel,
    load_config,
    read_labels,
)
from keras_efficientdet.export import savedmodel
from keras_efficientdet.export.graph import with_preprocessing
from keras_efficientdet.network.detector import detector

LOAD_ALONE = """
import sys
import numpy as np, tensorflow as tf
folder, pictures, output = sys.argv[1:]
run = tf.saved_model.load(folder).signatures['serving_default']
np.savez(output, **{k: v.numpy() for k, v in run(images=tf.constant(np.load(pictures))).items()})
assert not [m for m in sys.modules if m.startswith('keras_efficientdet')]
"""


@pytest.fixture(scope='module')
def exported(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported') / 'cells'
    assert export_savedmodel(small_model, folder) == folder / '1'
    return folder


def batch_of(pictures, height=70, width=110):
    return np.stack(
        [p[np.arange(height) % p.shape[0]][:, np.arange(width) % p.shape[1]] for p in pictures]
    )


def close(found, expected):
    assert set(found) == set(expected) == {'boxes', 'scores', 'classes', 'count'}
    np.testing.assert_array_equal(found['count'], expected['count'])
    np.testing.assert_array_equal(found['classes'], expected['classes'])
    np.testing.assert_allclose(found['scores'], expected['scores'], atol=1e-4)
    np.testing.assert_allclose(found['boxes'], expected['boxes'], atol=1e-2)
    assert np.min(expected['count']) > 10


def test_savedmodel_in_a_process_without_this_package(exported, small_model, pictures, tmp_path):
    batch = batch_of(pictures)
    expected = {k: np.asarray(v) for k, v in detector(small_model)(batch).items()}
    assert np.max(np.abs(expected['scores'][0] - expected['scores'][1])) > 1e-3
    np.save(tmp_path / 'batch.npy', batch)
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            LOAD_ALONE,
            exported / '1',
            tmp_path / 'batch.npy',
            tmp_path / 'found.npz',
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    close(dict(np.load(tmp_path / 'found.npz')), expected)


def test_two_that_export_at_once_do_not_write_one_folder(small_model, tmp_path, monkeypatch):
    folders = []

    def stop(folder, _):
        folders.append(folder)
        folder.mkdir()
        raise KeyError

    monkeypatch.setattr(savedmodel, 'save_functions', stop)
    for _ in range(2):
        with pytest.raises(KeyError):
            export_savedmodel(small_model, tmp_path / 'cells')
    assert len(set(folders)) == 2 and list((tmp_path / 'cells').iterdir()) == []


def test_a_detector_is_refused(small_model, tmp_path):
    with pytest.raises(ValueError, match='give the result of `efficientdet`, not of `detector`'):
        export_savedmodel(detector(small_model), tmp_path / 'cells')


def test_signature(exported):
    signature = tf.saved_model.load(str(exported / '1')).signatures['serving_default']
    (images,) = signature.structured_input_signature[1].values()
    assert (images.name, images.dtype, images.shape.as_list()) == (
        'images',
        tf.uint8,
        [None, None, None, 3],
    )
    kinds = {k: (v.dtype, v.shape.rank) for k, v in signature.structured_outputs.items()}
    assert kinds == {
        'boxes': (tf.float32, 3),
        'scores': (tf.float32, 2),
        'classes': (tf.int32, 2),
        'count': (tf.int32, 1),
    }


def test_any_batch_and_size_without_a_new_trace(exported, small_model, pictures):
    loaded = tf.saved_model.load(str(exported / '1'))
    signature, whole = loaded.signatures['serving_default'], detector(small_model)
    for batch in (pictures[0][None], batch_of(pictures), batch_of(pictures[:2], 33, 90)):
        close(
            {k: v.numpy() for k, v in signature(images=tf.constant(batch)).items()},
            {k: np.asarray(v) for k, v in whole(batch).items()},
        )


def test_one_trace_for_all_batches_and_sizes(small_model, small_config, pictures):
    run = with_preprocessing(small_model, small_config)
    for batch in (pictures[0][None], batch_of(pictures), batch_of(pictures[:2], 33, 90)):
        run(tf.constant(batch))
    assert run.experimental_get_tracing_count() == 1


def test_detector_reads_the_export(exported, small_detector, pictures):
    for path in (exported, exported / '1', str(exported)):
        for found, expected in zip(Detector(path)(pictures), small_detector(pictures), strict=True):
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
            assert (found.names, found.ids) == (expected.names, expected.ids)


def test_labels_stand_beside_the_graph(exported):
    content = json.loads((exported / '1' / 'assets.extra' / 'labels.json').read_text())
    assert content == {
        'model': 'efficientdet-lite0',
        'names': ['cat', 'dog', 'van'],
        'ids': [1, 18, 400],
        'image_size': [96, 128],
        'resize': 'pad',
        'mean_rgb': [127.0] * 3,
        'stddev_rgb': [128.0] * 3,
    }
    assert read_labels(exported / '1') == content


def test_labels_of_a_folder_of_versions_are_those_of_the_newest(exported, tmp_path):
    for version in ('2', '10'):
        shutil.copytree(exported / '1', tmp_path / 'cells' / version)
    labels = {**read_labels(exported), 'names': ['newest']}
    (tmp_path / 'cells' / '10' / 'assets.extra' / 'labels.json').write_text(json.dumps(labels))
    assert read_labels(tmp_path / 'cells')['names'] == ['newest']


def test_labels_can_be_asked_of_the_graph(exported, small_config):
    found = tf.saved_model.load(str(exported / '1')).signatures['labels']()
    assert [name.decode() for name in found['names'].numpy()] == ['cat', 'dog', 'van']
    assert found['ids'].numpy().tolist() == [1, 18, 400]
    assert load_config(Config(), json.loads(found['config'].numpy())) == small_config


def test_raw_is_the_network(exported, small_model):
    images = np.random.default_rng(1).standard_normal((2, 96, 128, 3)).astype(np.float32)
    found, expected = (
        tf.saved_model.load(str(exported / '1')).signatures['raw'](images=tf.constant(images)),
        small_model(images),
    )
    assert set(found) == set(expected) == {'boxes', 'classes'}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_weights_are_constants_and_stored_once(exported, small_model):
    assert tf.saved_model.load(str(exported / '1')).signatures['raw'].variables == ()
    assert (exported / '1' / 'saved_model.pb').stat().st_size < 1.3 * 4 * small_model.count_params()


def test_encoded_photos_of_different_sizes(exported, small_detector, pictures, tmp_path):
    paths = [tmp_path / f'{i}.{kind}' for i, kind in enumerate(('png', 'png', 'bmp'))]
    for picture, path in zip(pictures, paths, strict=True):
        Image.fromarray(picture).save(path)
    run = tf.saved_model.load(str(exported / '1')).signatures['serving_bytes']
    found = {
        k: v.numpy()
        for k, v in run(image_bytes=tf.constant([p.read_bytes() for p in paths])).items()
    }
    for i, expected in enumerate(small_detector(pictures)):
        assert found['count'][i] == len(expected) > 10
        np.testing.assert_allclose(found['boxes'][i, : len(expected)], expected.boxes, atol=1e-2)
        np.testing.assert_allclose(found['scores'][i, : len(expected)], expected.scores, atol=1e-4)


def test_photos_lying_on_their_side_are_turned(exported, small_detector, pictures, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pictures[0]).save(tmp_path / 'side.jpg', exif=exif, quality=95)
    upright = np.rot90(np.asarray(Image.open(tmp_path / 'side.jpg')), -1)
    run = tf.saved_model.load(str(exported / '1')).signatures['serving_bytes']
    found = run(image_bytes=tf.constant([(tmp_path / 'side.jpg').read_bytes()]))
    (expected,) = small_detector(upright)
    np.testing.assert_allclose(
        found['scores'][0, :10], expected.scores[:10], atol=2e-2
    )  # two JPEG decoders
    np.testing.assert_allclose(found['boxes'][0, :3], expected.boxes[:3], atol=3)


def test_an_existing_version_stays(exported, small_model):
    before = sorted(p.name for p in exported.iterdir())
    with pytest.raises(FileExistsError, match=r'1 exists; give another version'):
        export_savedmodel(small_model, exported)
    assert sorted(p.name for p in exported.iterdir()) == before == ['1']


def test_newest_version_by_number_and_other_settings(
    exported, small_model, small_config, pictures, tmp_path
):
    shutil.copytree(exported / '1', tmp_path / 'net' / '2')
    export_savedmodel(
        small_model, tmp_path / 'net', load_config(small_config, {'max_output_size': 5}), version=10
    )
    assert [len(found) for found in Detector(tmp_path / 'net')(pictures)] == [5, 5, 5]
    assert len(Detector(tmp_path / 'net' / '2')(pictures[0])[0]) > 5
    assert sorted(p.name for p in (tmp_path / 'net').iterdir()) == ['10', '2']


def test_a_foreign_savedmodel_is_refused(tmp_path):
    module = tf.Module()
    module.run = tf.function(
        lambda x: {'y': x + 1.0}, input_signature=[tf.TensorSpec([None], tf.float32)]
    )
    tf.saved_model.save(
        module, str(tmp_path / 'foreign'), signatures={'serving_default': module.run}
    )
    with pytest.raises(ValueError, match=r'foreign: no labels of keras_efficientdet in it'):
        Detector(tmp_path / 'foreign')


def outputs_of(model, size):
    images = np.random.default_rng(1).standard_normal((2, *size, 3)).astype(np.float32)
    return {k: np.asarray(v) for k, v in model(images, training=False).items()}


def test_keras_file_round_trip(small_model, small_config, tmp_path):
    small_model.save(tmp_path / 'net.keras')
    again = keras.models.load_model(tmp_path / 'net.keras', compile=False)
    assert again.detection_config == small_config
    assert list(again.detection_config.model.label_map) == [1, 18, 400]
    expected = outputs_of(small_model, (96, 128))
    for name, found in outputs_of(again, (96, 128)).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5)


def test_weights_file_round_trip(small_model, small_config, tmp_path):
    small_model.save_weights(tmp_path / 'net.weights.h5')
    expected = outputs_of(small_model, (96, 128))
    fresh = efficientdet(small_config)
    assert np.max(np.abs(outputs_of(fresh, (96, 128))['classes'] - expected['classes'])) > 0.1
    for again in (fresh, efficientdet(small_config, str(tmp_path / 'net.weights.h5'))):
        again.load_weights(tmp_path / 'net.weights.h5')
        for name, found in outputs_of(again, (96, 128)).items():
            np.testing.assert_allclose(found, expected[name], atol=1e-5)


def test_the_whole_detector_can_be_saved_by_keras(small_model, pictures, tmp_path):
    whole, batch = detector(small_model), batch_of(pictures)
    whole.save(tmp_path / 'whole.keras')
    again = keras.models.load_model(tmp_path / 'whole.keras', compile=False)
    close(
        {k: np.asarray(v) for k, v in again(batch).items()},
        {k: np.asarray(v) for k, v in whole(batch).items()},
    )
