"""Detection in an Apache Beam pipeline, for what exceeds one machine (extra `beam`).

Importing this module needs apache-beam.
"""

import json
import os
from collections.abc import Iterable

from keras_efficientdet.inference.bulk import detect_part
from keras_efficientdet.inference.detector import Detector
from keras_efficientdet.inference.results import image_id_of
from keras_efficientdet.optional import require

beam = require('apache_beam', 'beam')
inference = require('apache_beam.ml.inference.base', 'beam')


class DetectorHandler(inference.ModelHandler):
    """The handler of a `Detector` for Beam's RunInference.

    It takes paths of images and yields PredictionResult(path, {'rows', 'broken'}), the entries of
    `bulk.detect_part` for this image.

    Args:
      model: a path, of anything that `Detector` accepts, that every worker can read.
    """

    def __init__(self, model: str | os.PathLike, *, min_score: float = 0.3, batch_size: int = 8):
        self._model, self._min_score, self._batch_size = str(model), min_score, batch_size
        super().__init__()

    def batch_elements_kwargs(self):
        # Several batches of the network at once, so that threads can read ahead.
        return {'min_batch_size': self._batch_size, 'max_batch_size': 8 * self._batch_size}

    def load_model(self):
        return Detector(self._model, self._batch_size)

    def run_inference(self, batch, model, inference_args=None):
        paths = list(dict.fromkeys(batch))  # a path may be listed twice
        found = detect_part(model, paths, self._min_score, os.cpu_count())
        for path in batch:
            yield inference.PredictionResult(path, _of_path(found, path))


def _of_path(found, path):
    return {key: [row for row in rows if row['file_name'] == path] for key, rows in found.items()}


def detect_beam(
    model: str | os.PathLike,
    list_file: str | os.PathLike,
    output: str | os.PathLike,
    *,
    min_score: float = 0.3,
    batch_size: int = 8,
    options: Iterable[str] = (),
) -> None:
    """Finds objects in the images that a text file lists, one path per line.

    Blank lines are skipped. Writes `<output>/detections-*-of-*.jsonl` with one row of `result_rows`
    per line, and `<output>/broken-*-of-*.jsonl` with one {'file_name', 'error'} per line.

    Args:
      model, list_file, output: paths that every worker can read or write, as are those in the list.
      options: of Beam, like ['--runner=FlinkRunner', '--flink_master=...']; default: Beam's direct
        runner on this machine.
    """
    handler = DetectorHandler(model, min_score=min_score, batch_size=batch_size)
    settings = beam.options.pipeline_options.PipelineOptions(list(options))
    with beam.Pipeline(options=settings) as pipeline:
        lines = (
            pipeline
            | beam.io.ReadFromText(str(list_file))
            | 'not blank' >> beam.Filter(lambda line: line.strip())
        )
        found = (
            lines
            | beam.Reshuffle()  # without it the lines of a small file stay on one worker
            | inference.RunInference(handler)
        )
        # As `image_ids_of`, which needs all paths in one place.
        shared = (
            lines
            | beam.Distinct()
            | 'ids' >> beam.Map(image_id_of)
            | beam.combiners.Count.PerElement()
            | beam.Filter(lambda pair: pair[1] > 1)
        )
        for key, name in (('rows', 'detections'), ('broken', 'broken')):
            prefix = os.path.join(str(output), name)
            rows = found | f'take {name}' >> beam.FlatMap(_lines, key, beam.pvalue.AsDict(shared))
            rows | f'write {name}' >> beam.io.WriteToText(prefix, file_name_suffix='.jsonl')


def _lines(result, key, shared):
    """The entries of an image as json; its id is its path if `shared` has the usual one."""
    for row in result.inference[key]:
        by_path = row.get('image_id') in shared
        yield json.dumps({**row, 'image_id': row['file_name']} if by_path else row)
