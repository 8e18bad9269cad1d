"""A TensorFlow Datasets builder, drawn and prepared here."""

import drawn
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet import DataError, read_coco, read_tfds, write_records
from keras_efficientdet.data import records

tfds = pytest.importorskip('tensorflow_datasets', reason='tensorflow-datasets is not installed')


class Drawn(tfds.core.GeneratorBasedBuilder):
    """The photos of a Source."""

    VERSION = tfds.core.Version('1.0.0')

    def __init__(self, source, **options):
        self._source = source
        super().__init__(**options)

    def _info(self):
        objects = {
            'bbox': tfds.features.BBoxFeature(),
            'is_crowd': np.bool_,
            'label': tfds.features.ClassLabel(names=list(self._source.label_map.values())),
        }
        features = {
            'image': tfds.features.Image(encoding_format='png'),
            'image/filename': tfds.features.Text(),
            'image/id': np.int64,
            'objects': tfds.features.Sequence(objects),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {'train': self._generate_examples()}

    def _generate_examples(self):
        for photo in self._source.photos:
            size = [photo.height, photo.width] * 2
            objects = [
                {
                    'bbox': tfds.features.BBox(*(box / size)),
                    'is_crowd': crowd,
                    'label': self._source.label_map[i],
                }
                for box, crowd, i in zip(photo.boxes, photo.crowd, photo.ids, strict=True)
            ]
            yield (
                photo.path.name,
                {
                    'image': str(photo.path),
                    'image/filename': photo.path.name,
                    'image/id': photo.id,
                    'objects': objects,
                },
            )


@pytest.fixture
def source(tmp_path):
    photos = [
        (20, 30, [drawn.box(1, 2, 8, 4, 18), drawn.box(5, 6, 10, 12, 400, iscrowd=1)]),
        (40, 24, []),
    ]
    return read_coco(*drawn.write_coco(tmp_path / 'drawn', photos))


def test_a_builder_is_read_and_written(source, tmp_path):
    found = read_tfds(Drawn(source, data_dir=str(tmp_path / 'tfds')), 'train')
    assert found.label_map == {0: 'cat', 1: 'dog', 2: 'van'} and len(found.photos) == 2
    for _ in range(2):  # the photos can be gone through again
        by_name = {photo.path.name: photo for photo in found.photos}
        for photo in source.photos:
            same = by_name[photo.path.name]
            assert (same.id, same.height, same.width, same.crowd) == (
                photo.id,
                photo.height,
                photo.width,
                photo.crowd,
            )
            assert [found.label_map[i] for i in same.ids] == [
                source.label_map[i] for i in photo.ids
            ]
            np.testing.assert_allclose(same.boxes, photo.boxes, atol=1e-4)
    summary = write_records(found, tmp_path / 'records', progress=False)
    assert (summary['images'], summary['boxes'], summary['crowd_boxes'], summary['changes']) == (
        2,
        2,
        1,
        {},
    )
    pictures = {
        int(p['id']): p['image']
        for p in (
            records.parse(s, (0, 1, 2))
            for s in tf.data.TFRecordDataset(records.record_files(tmp_path / 'records'))
        )
    }
    np.testing.assert_array_equal(
        pictures[1], tf.io.decode_image(source.photos[0].path.read_bytes(), channels=3)
    )


def test_what_is_not_there_is_named(source, tmp_path):
    with pytest.raises(DataError, match=r"drawn/1\.0\.0: no split 'test'; it has \['train'\]"):
        read_tfds(Drawn(source, data_dir=str(tmp_path / 'tfds')), 'test')
