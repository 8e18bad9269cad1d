"""Detection in an Apache Beam pipeline, for what outgrows one machine (extra `beam`). Importing this file needs apache-beam."""

import json
import os

from keras_efficientdet.inference.bulk import detect_part
from keras_efficientdet.inference.detector import Detector
from keras_efficientdet.optional import require

beam = require('apache_beam', 'beam')
inference = require('apache_beam.ml.inference.base', 'beam')


class DetectorHandler(inference.ModelHandler):
    """RunInference's handler of a `Detector`: paths of pictures -> PredictionResult(path, {'rows', 'broken'} of that picture).

    Args:
      model: a path that every worker can reach, of anything that `Detector` takes.
    """

    def __init__(self, model, *, min_score=0.3, batch_size=8):
        self._model, self._min_score, self._batch_size = str(model), min_score, batch_size
        super().__init__()

    def batch_elements_kwargs(self):
        return {'min_batch_size': self._batch_size, 'max_batch_size': 8 * self._batch_size}

    def load_model(self):
        return Detector(self._model, self._batch_size)

    def run_inference(self, batch, model, inference_args=None):
        found = detect_part(model, list(dict.fromkeys(batch)), self._min_score, os.cpu_count())
        for path in batch:
            yield inference.PredictionResult(
                path,
                {
                    key: [row for row in rows if row['file_name'] == path]
                    for key, rows in found.items()
                },
            )


def detect_beam(model, list_file, output, *, min_score=0.3, batch_size=8, options=()):
    """Finds objects in the pictures that a file lists, a path a line; blank lines are skipped. Writes
    `<output>/detections-*-of-*.jsonl`, a row of `result_rows` a line, and `<output>/broken-*-of-*.jsonl`,
    {'file_name', 'error'} a line. The workers must reach every path.

    Args:
      options: Beam's own, like ['--runner=FlinkRunner', '--flink_master=...']; default: Beam's direct runner, here.
    """
    handler = DetectorHandler(model, min_score=min_score, batch_size=batch_size)
    with beam.Pipeline(
        options=beam.options.pipeline_options.PipelineOptions(list(options))
    ) as pipeline:
        found = (
            pipeline
            | beam.io.ReadFromText(str(list_file))
            | beam.Filter(lambda line: line.strip())
            | beam.Reshuffle()
            | inference.RunInference(handler)
        )
        for key, name in (('rows', 'detections'), ('broken', 'broken')):
            _ = (
                found
                | f'take {name}' >> beam.FlatMap(_lines, key)
                | f'write {name}'
                >> beam.io.WriteToText(os.path.join(str(output), name), file_name_suffix='.jsonl')
            )


def _lines(result, key):
    return [json.dumps(row) for row in result.inference[key]]
