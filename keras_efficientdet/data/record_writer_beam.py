"""Records by an Apache Beam pipeline, for data sets that outgrow one machine. apache-beam is optional (extra `beam`)."""

import collections
import json
import pathlib
import uuid

import tensorflow as tf

from keras_efficientdet.data.record_writer import new_folder, serialize, shard_names, write_summary


def write_records_beam(source, output_dir, options=()):
    """`write_records` as a pipeline: the same files, byte for byte. The unit of work is a file of 250 pictures.

    Args:
      output_dir: new folder that every worker can reach under this name, as it must the pictures.
      options: Beam's own, like ['--runner=FlinkRunner', '--flink_master=...']; default: Beam's direct runner, here.
    Returns:
      the summary, as `write_records` does.
    Raises:
      DataError: as `write_records`; a fault of a picture comes out as the runner reports it, with the same text.
      ImportError: apache-beam is not there.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    with new_folder(source, output_dir) as folder:
        photos, names = list(source.photos), shard_names(source)
        shards = [(str(folder / name), photos[i :: len(names)]) for i, name in enumerate(names)]
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | beam.Create(shards)
                | beam.Reshuffle()
                | beam.Map(_write_shard, source.label_map)
            )
        counts = collections.Counter()
        for name in names:
            counts.update(_take_counts(folder / f'{name}.counts'))
        return write_summary(source, counts, folder)


def _write_shard(shard, label_map):
    """Writes one file and its counts. Under other names first: runners repeat work that failed, or seems to be slow."""
    path, photos = pathlib.Path(shard[0]), shard[1]
    counts, working = collections.Counter(), path.with_name(f'{path.name}.{uuid.uuid4().hex}')
    with tf.io.TFRecordWriter(str(working)) as writer:
        for photo in photos:
            serialized, counted = serialize(photo, label_map)
            writer.write(serialized)
            counts.update(counted)
    working.rename(path)
    (path.with_name(f'{path.name}.counts')).write_text(json.dumps(list(counts.items())))


def _take_counts(path):
    """{what: number} of a file of counts, which is removed."""
    items = json.loads(path.read_text())
    path.unlink()
    return {tuple(what) if isinstance(what, list) else what: n for what, n in items}
