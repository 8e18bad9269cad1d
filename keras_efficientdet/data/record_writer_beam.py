"""Records by an Apache Beam pipeline, for data sets that outgrow one machine.

apache-beam is optional (extra `beam`).
"""

import collections
import json
import os
import pathlib
import uuid

import tensorflow as tf

from keras_efficientdet.data.record_writer import (
    attempt,
    new_folder,
    shard_names,
    write_summary,
)
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError, raise_faults


def write_records_beam(source: Source, output_dir: str | os.PathLike, options=()) -> dict:
    """`write_records` as a pipeline: the same files, byte for byte. The unit of work is a shard.

    Args:
      source: Source. Every worker must be able to read its images under their paths.
      output_dir: a new folder that every worker can reach under this path.
      options: Beam's own, such as ['--runner=FlinkRunner', '--flink_master=...']. Default: Beam's
        direct runner, on this machine.
    Returns:
      the summary, as `write_records` does.
    Raises:
      DataError: as `write_records`.
      ImportError: apache-beam is not installed.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    with new_folder(source, output_dir) as folder:
        photos = list(source.photos)
        names = shard_names(source)
        shards = [(str(folder / name), photos[i :: len(names)]) for i, name in enumerate(names)]
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | beam.Create(shards)
                | beam.Reshuffle()
                | beam.Map(_write_shard, source.label_map)
            )
        counts, faults = collections.Counter(), []
        for name in names:
            counted, found = _take_counts(folder / f'{name}.counts')
            counts.update(counted)
            faults += found
        for left in folder.glob('writing-*'):  # of workers that died
            left.unlink()
        raise_faults(faults)
        return write_summary(source, counts, folder)


def _write_shard(shard, label_map):
    """Writes a shard and its counts.

    Under a temporary name first, which is none of a record file: runners repeat work that failed or
    seems slow, and what a dead worker leaves must not be read.
    """
    name, photos = shard
    path = pathlib.Path(name)
    working = path.with_name(f'writing-{uuid.uuid4().hex}')
    counts, faults = collections.Counter(), []
    with tf.io.TFRecordWriter(str(working)) as writer:
        for photo in photos:
            serialized, counted, fault = attempt(photo, label_map)
            if fault:
                faults.append(str(fault))
            else:
                writer.write(serialized)
                counts.update(counted)
    working.rename(path)
    content = json.dumps([list(counts.items()), faults])
    path.with_name(f'{path.name}.counts').write_text(content, encoding='utf-8')


def _take_counts(path):
    """Reads and removes a file of counts and faults."""
    items, faults = json.loads(path.read_text(encoding='utf-8'))
    path.unlink()
    # json has turned the keys that are tuples into lists.
    counts = {tuple(key) if isinstance(key, list) else key: count for key, count in items}
    return counts, [DataError(fault) for fault in faults]
