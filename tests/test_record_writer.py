"""Records written: odd images keep the pixels that their boxes refer to; faults leave nothing."""

import io
import pathlib
import struct

import damaged
import drawn
import numpy as np
import official
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_efficientdet import read_coco, write_records
from keras_efficientdet.data import record_writer, records
from keras_efficientdet.data.source import Photo, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging import pil
from keras_efficientdet.ops import images


def photo_of(path, **change):
    """A Photo of a file with one box, of the size that a viewer shows."""
    if not change:
        with Image.open(path) as opened:
            change = dict(
                zip(('width', 'height'), ImageOps.exif_transpose(opened).size, strict=True)
            )
    known = {
        'path': pathlib.Path(path),
        'id': 7,
        'crowd': (False,),
        'areas': (6.0,),
        'boxes': np.array([[1.0, 2.0, 3.0, 5.0]]),
        'ids': (18,),
    }
    return Photo(**{**known, **change})


def stored(photo, folder):
    """The photo, written and parsed again."""
    write_records(Source([photo], drawn.LABELS, {}), folder, progress=False)
    (serialized,) = tf.data.TFRecordDataset(records.record_files(folder))
    return records.parse(serialized, tuple(drawn.LABELS))


# ---- images ----

ODD = [
    *(f'exif_portrait_{i}.jpg' for i in range(1, 9)),
    *(f'pillow_hopper_orientation_{i}.jpg' for i in range(2, 9)),
    'pillow_exif_imagemagick_orientation.png',
    'pillow_hopper.bmp',
    'pillow_hopper.gif',
    'pillow_hopper.webp',
    'pillow_hopper.jpg',
    'pillow_hopper_16bit_qtables.jpg',
    'pillow_hopper_bad_exif.jpg',
    'pillow_hopper_gray.jpg',
    'pillow_broken_exif_dpi.jpg',
    'pillow_l_trns.png',
    'pillow_mode_16bit.png',
    'pillow_pil123p.png',
    'pillow_pil123rgba.png',
    'pillow_pil_sample_cmyk.jpg',
    'pillow_rgb_trns.png',
    'pillow_transparent.webp',
    'skimage_camera_gray.png',
    'skimage_logo_rgba.png',
]


def test_the_list_of_odd_pictures_is_whole(real):
    assert sorted(ODD) == sorted(p.name for p in real('odd_images').glob('*.[pjgbw]*'))


@pytest.mark.filterwarnings('ignore:Palette images with Transparency', 'ignore:Corrupt EXIF data')
@pytest.mark.parametrize('name', ODD)
def test_odd_pictures_are_stored_upright(real, tmp_path, name):
    path = real('odd_images') / name
    found = stored(photo_of(path), tmp_path / 'records')['image'].numpy().astype(int)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert('RGB')).astype(int)
        as_it_is = (
            opened.format == 'JPEG'
            and opened.getexif().get(0x0112, 1) == 1
            and opened.mode != 'CMYK'
        )
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    if as_it_is:  # two JPEG decoders
        assert difference.mean() < 2 and np.quantile(difference, 0.99) < 12
    else:
        assert difference.max() == 0


def test_all_turned_copies_of_a_photo_become_one(real, tmp_path):
    upright = [
        stored(photo_of(real('odd_images') / f'exif_portrait_{i}.jpg'), tmp_path / str(i))['image']
        for i in range(1, 9)
    ]
    small = [
        tf.image.resize(tf.cast(p, tf.float32), [90, 60], antialias=True).numpy() for p in upright
    ]
    for other in small[1:]:
        assert np.mean(np.abs(other - small[0])) < 5
    assert np.mean(np.abs(small[0][::-1] - small[0])) > 20


@pytest.mark.parametrize('value', range(9))
def test_upright_is_what_pillow_shows(value):
    exif = Image.Exif()
    exif[0x0112] = value
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)).save(
        file, 'PNG', exif=exif
    )
    picture = Image.open(file)
    np.testing.assert_array_equal(pil.upright(picture), ImageOps.exif_transpose(picture))


def test_damaged_exif_beside_an_orientation(tmp_path, pictures):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(damaged.jpeg(pictures[1]))
    with Image.open(path) as opened, pytest.raises(struct.error):
        ImageOps.exif_transpose(opened)
    height, width = pictures[1].shape[:2]
    assert pil.upright_size(path) == (width, height)
    found = stored(photo_of(path, height=width, width=height), tmp_path / 'records')['image']
    np.testing.assert_array_equal(found, np.rot90(np.asarray(Image.open(path)), -1))


@pytest.mark.parametrize('fault', [ValueError, struct.error, IndexError])
def test_whatever_pillow_raises_names_the_picture(tmp_path, monkeypatch, fault):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])

    def stumble(*_):
        raise fault('bad')

    monkeypatch.setattr(Image, 'open', stumble)
    with pytest.raises(DataError, match=r'1\.png: cannot be read as an image: bad'):
        write_records(read_coco(path, folder), tmp_path / 'records', progress=False)
    with pytest.raises(DataError, match=r'1\.png: cannot be read as an image: bad'):
        pil.upright_size(folder / '1.png')


def test_two_that_write_at_once_do_not_write_one_folder(tmp_path):
    source = Source([None], drawn.LABELS, {})
    with record_writer.new_folder(source, tmp_path / 'a') as one:
        with pytest.raises(KeyError), record_writer.new_folder(source, tmp_path / 'a') as two:
            assert one != two
            raise KeyError
        assert one.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_a_photo_annotated_before_turning_stays(real, tmp_path):
    path = real('odd_images/exif_portrait_6.jpg')
    example = stored(photo_of(path, height=1200, width=1800), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'], images.decode(path.read_bytes()))
    np.testing.assert_allclose(example['boxes'], [[1, 2, 3, 5]], atol=1e-3)


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    shades = (np.arange(256).reshape(16, 16) * 257).astype(np.uint16)
    Image.fromarray(shades).save(tmp_path / 'deep.png')
    example = stored(photo_of(tmp_path / 'deep.png'), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'][..., 1], np.arange(256).reshape(16, 16))


def test_jpeg_is_stored_as_it_is(real, tmp_path):
    path = real('coco_mini/images/000000000089.jpg')
    write_records(Source([photo_of(path)], drawn.LABELS, {}), tmp_path / 'records', progress=False)
    (serialized,) = tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    features = tf.train.Example.FromString(serialized.numpy()).features.feature
    assert features['image/encoded'].bytes_list.value == [path.read_bytes()]


def test_a_png_without_its_end_can_be_trained_on(tmp_path):
    path = tmp_path / 'open.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(tf.errors.InvalidArgumentError):  # Pillow forgives it, TensorFlow does not
        images.decode(path.read_bytes())
    example = stored(photo_of(path), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'], np.asarray(Image.open(path)))


# ---- faults ----


def _no_picture(folder):
    (folder / 'images' / '2.png').unlink()


def _broken_picture(folder):
    path = folder / 'images' / '2.png'
    path.write_bytes(path.read_bytes()[:60])


def _text_as_picture(folder):
    (folder / 'images' / '2.png').write_text('no picture')


def _other_size(folder):
    Image.new('RGB', (31, 20)).save(folder / 'images' / '2.png')


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (_no_picture, 'there is no such file'),
        (_broken_picture, 'cannot be read as an image'),
        (_text_as_picture, 'cannot be read as an image'),
        (_other_size, 'the image is 31x20 (width x height), but its annotation states 30x20'),
    ],
    ids=lambda v: getattr(v, '__name__', ''),
)
def test_a_bad_picture_is_named_and_nothing_is_left(tmp_path, fault, message):
    path, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])] * 3)
    fault(tmp_path)
    with pytest.raises(DataError) as error:
        write_records(read_coco(path, folder), tmp_path / 'deep' / 'records', progress=False)
    assert str(folder / '2.png') in str(error.value) and message in str(error.value)
    assert list((tmp_path / 'deep').iterdir()) == []


def test_a_cut_jpeg_is_named(real, tmp_path):
    data = real('coco_mini/images/000000000089.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'cut\.jpg: cannot be read as an image'):
        stored(photo_of(tmp_path / 'cut.jpg', height=480, width=640), tmp_path / 'records')
    assert not (tmp_path / 'records').exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    folder = drawn.records(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(DataError, match='records exists'):
        drawn.records(tmp_path, [(9, 9, [])])
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_no_photos(tmp_path):
    with pytest.raises(DataError, match='lists no images'):
        write_records(Source([], drawn.LABELS, {}), tmp_path / 'records')
    assert list(tmp_path.iterdir()) == []


# ---- what people have ----


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('coco_many_broken_pictures', 'cannot be read as an image'),
        ('coco_some_pictures_missing', 'there is no such file'),
    ],
)
def test_all_broken_images_are_named_at_once(tmp_path, name, message):
    folder = official.bug_input(name)
    source = read_coco(folder / 'instances.json', folder / 'images')
    assert len(source.photos) == 6
    with pytest.raises(DataError) as error:
        write_records(source, tmp_path / 'records', progress=False)
    assert str(error.value).startswith('3 faults:') and str(error.value).count(message) == 3
    assert not list(tmp_path.iterdir())


def test_faults_of_every_kind_are_counted(tmp_path):
    boxes = [drawn.box(1, 2, 3, 4)]
    path, folder = drawn.write_coco(tmp_path, [(20, 30, boxes)] * 14)
    for i in range(1, 13):
        (folder / f'{i}.png').write_bytes(b'')
    Image.new('RGB', (9, 9)).save(folder / '13.png')
    with pytest.raises(DataError, match=r'(?s)13 faults:.*10\.png.*and 3 more') as error:
        write_records(read_coco(path, folder), tmp_path / 'records', progress=False)
    assert len(error.value.faults) == 13
    assert 'the image is 9x9' in str(error.value.faults[-1])


def test_the_first_image_of_a_phone_is_stored_as_it_is(tmp_path):
    path = official.bug_input('pictures_of_phones') / 'mpo.jpg'
    summary = write_records(
        Source([photo_of(path)], drawn.LABELS, {}), tmp_path / 'records', progress=False
    )
    (serialized,) = tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    features = tf.train.Example.FromString(serialized.numpy()).features.feature
    assert features['image/encoded'].bytes_list.value == [path.read_bytes()]
    assert not summary['changes']
    found = records.parse(serialized, tuple(drawn.LABELS))['image'].numpy().astype(int)
    assert np.abs(found - np.asarray(Image.open(path)).astype(int)).mean() < 1


def test_a_turned_image_of_a_phone_keeps_its_pixels(tmp_path):
    path = official.bug_input('pictures_of_phones') / 'portrait_exif6.jpg'
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    example = stored(photo_of(path), tmp_path / 'records')
    np.testing.assert_array_equal(example['image'], expected)


def test_files_are_the_same_for_any_number_of_open_shards(tmp_path, monkeypatch):
    photos = [(20, 30, [drawn.box(i, 2, 3, 4)]) for i in range(11)]
    source = read_coco(*drawn.write_coco(tmp_path / 'drawn', photos))
    monkeypatch.setattr(record_writer, 'PHOTOS_PER_SHARD', 2)
    summary = write_records(source, tmp_path / 'all', progress=False)
    monkeypatch.setattr(record_writer, 'OPEN_SHARDS', 4)
    opened, usual = [], tf.io.TFRecordWriter

    class Counted(usual):
        def __enter__(self):
            opened.append(1)
            assert sum(opened) <= 4
            return super().__enter__()

        def __exit__(self, *error):
            opened.append(-1)
            return super().__exit__(*error)

    monkeypatch.setattr(tf.io, 'TFRecordWriter', Counted)
    assert write_records(source, tmp_path / 'some', progress=False) == summary
    assert opened.count(1) == 6 and sum(opened) == 0
    names = sorted(path.name for path in (tmp_path / 'all').iterdir())
    assert len(names) == 7
    for name in names:
        assert (tmp_path / 'some' / name).read_bytes() == (tmp_path / 'all' / name).read_bytes()


def test_an_image_without_boxes_has_no_features_of_objects(tmp_path):
    source = read_coco(*drawn.write_coco(tmp_path / 'drawn', [(20, 30, [])]))
    write_records(source, tmp_path / 'records', progress=False)
    (serialized,) = tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    features = tf.train.Example.FromString(serialized.numpy()).features.feature
    assert not [name for name in features if name.startswith('image/object')]
    example = records.parse(serialized, tuple(drawn.LABELS))
    assert example['boxes'].shape == (0, 4) and example['classes'].shape == (0,)
    assert example['area'].shape == example['crowd'].shape == (0,)


def test_classes_of_one_name_are_counted_apart(tmp_path):
    boxes = [drawn.box(1, 2, 3, 4), drawn.box(5, 2, 3, 4), drawn.box(9, 2, 3, 4, 18)]
    source = read_coco(*drawn.write_coco(tmp_path / 'drawn', [(20, 30, boxes)]))
    source = Source(source.photos, {1: 'cell', 18: 'cell', 400: 'van'}, {})
    summary = write_records(source, tmp_path / 'records', progress=False)
    assert summary['boxes_per_class'] == {'cell (id 1)': 2, 'cell (id 18)': 1, 'van': 0}


def test_file_names_that_are_not_utf_8(tmp_path):
    _, folder = drawn.write_coco(tmp_path, [(20, 30, [drawn.box(1, 2, 3, 4)])])
    name = 'teil_\udce4.png'
    (folder / '1.png').rename(folder / name)
    photo = photo_of(folder / name, height=20, width=30)
    write_records(Source([photo], drawn.LABELS, {}), tmp_path / 'records', progress=False)
    (serialized,) = tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
    features = tf.train.Example.FromString(serialized.numpy()).features.feature
    assert features['image/filename'].bytes_list.value == [b'teil_\xe4.png']
