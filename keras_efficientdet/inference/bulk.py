"""Detection in very many files: in parts that a later run does not do again, on as many machines as there are."""

import collections
import hashlib
import json
import os
import pathlib

from tqdm import tqdm

from keras_efficientdet.files import replaced_file, size_and_time
from keras_efficientdet.imaging.sources import read_image
from keras_efficientdet.inference.detector import Detector, fingerprint
from keras_efficientdet.inference.results import result_rows, save_drawn, write_csv, write_json
from keras_efficientdet.threads import in_order

JOB = 'job.json'


def detect_files(
    model,
    paths,
    folder,
    *,
    min_score=0.3,
    part_size=1000,
    shard=(1, 1),
    drawn=False,
    table=False,
    batch_size=8,
    workers=None,
    progress=True,
):
    """Finds objects in picture files. Writes `folder`/parts/, a file for each `part_size` pictures, and, when all parts are
    there, detections.json (a COCO results file with file names) and broken.json (files that could not be read, and why).

    A part is written when it is done, in one step. A run on the same folder does the parts that are missing, with the same model
    and the same pictures: job.json holds a hash of the model, and one of the pictures' sizes and times. Several runs at
    once share the work by `shard`: (2, 16) does every 16th part from the second on; the last one to finish writes the whole.

    Args:
      model: a Detector, or what it takes; a file is loaded only if something is left to do.
      paths: of all pictures, the same in each run. batch_size: of the Detector that is made here.
      drawn: also writes pictures with boxes to `folder`/drawn/. table: also writes detections.csv.
      workers: threads that read pictures ahead of the network; default: as many as cores.
    Returns:
      Counter: pictures, detections, broken (of all parts there are), parts, parts done before, parts missing.
    Raises:
      ValueError: the folder holds the parts of another job, or shard is no such pair. FileNotFoundError: no such model.
    """
    paths, folder = [str(path) for path in paths], pathlib.Path(folder)
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(
            f'shard {shard[0]}/{shard[1]}: expected 1/{shard[1]} to {shard[1]}/{shard[1]}'
        )
    job = {
        **_known_of(model, paths),
        'min_score': min_score,
        'part_size': part_size,
        'drawn': drawn,
    }
    _refuse_another(folder, job)
    groups = [paths[i : i + part_size] for i in range(0, len(paths), part_size)]
    parts = {
        folder / 'parts' / f'{i:06d}-of-{len(groups):06d}.json': group
        for i, group in enumerate(groups, 1)
    }
    before = sum(part.is_file() for part in parts)
    mine = [part for part in list(parts)[shard[0] - 1 :: shard[1]] if not part.is_file()]
    if mine:
        detector = model if isinstance(model, Detector) else Detector(model, batch_size)
        with replaced_file(folder / JOB) as working:
            working.write_text(json.dumps(job, indent=1))
        _do(
            detector,
            {part: parts[part] for part in mine},
            _drawn_names(paths, folder) if drawn else None,
            min_score,
            workers or os.cpu_count(),
            progress,
        )
    counts = _finish(folder, parts, table)
    counts.update({'parts': len(parts), 'parts done before': before})
    return counts


def _known_of(model, paths):
    """What tells models and pictures apart, those of one name too."""
    return {
        'model': str(model) if isinstance(model, str | os.PathLike) else type(model).__name__,
        'model_sha256': fingerprint(model),
        'pictures': len(paths),
        'list': hashlib.sha256('\n'.join(paths).encode()).hexdigest(),
        'sizes_and_times': hashlib.sha256(
            json.dumps([size_and_time(path) for path in paths]).encode()
        ).hexdigest(),
    }


def _refuse_another(folder, job):
    """Holds a job against the note that an earlier run left in the folder."""
    begun = json.loads((folder / JOB).read_text()) if (folder / JOB).is_file() else job
    other = [
        f'{key} {begun.get(key)!r}, now {value!r}'
        for key, value in job.items()
        if begun.get(key) != value
    ]
    if other:
        raise ValueError(
            f'{folder} was begun with {"; ".join(other)}. Give the same, or another folder'
        )


def _do(detector, parts, drawn, min_score, workers, progress):
    with tqdm(
        desc='detecting',
        unit=' pictures',
        total=sum(map(len, parts.values())),
        disable=not progress,
    ) as bar:
        for part, paths in parts.items():
            content = detect_part(detector, paths, min_score, workers, bar.update, drawn)
            with replaced_file(part) as working:
                working.write_text(json.dumps({'pictures': len(paths), **content}))


def detect_part(detector, paths, min_score, workers, done=lambda n: None, drawn=None):
    """{'rows': `result_rows`, 'broken': [{'file_name', 'error'}]} of picture files, read by threads ahead of the network.

    Args:
      done: called with a number of pictures. drawn: {path: path to write it to, with boxes}, or None.
    """
    names, rows, broken = collections.deque(), [], []

    def readable():
        for path, picture, error in in_order(_read, paths, workers):
            if error:
                broken.append({'file_name': path, 'error': error})
                done(1)
            else:
                names.append(path)
                yield picture

    for picture, found in detector.with_pictures(readable()):
        path, found = names.popleft(), found.above(min_score)
        rows += result_rows(found, path)
        if drawn:
            save_drawn(drawn[path], picture, found)
        done(1)
    return {'rows': rows, 'broken': broken}


def _read(path):
    """(path, uint8 picture or None, what is wrong or None)"""
    try:
        return path, read_image(path), None
    except OSError as error:
        return path, None, str(error)


def _drawn_names(paths, folder):
    """{path: where it is drawn to}: below the deepest folder that holds all, as PNG, the old ending kept where it is another."""
    base = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = {path: os.path.relpath(os.path.abspath(path), base) for path in paths}
    return {
        path: folder / 'drawn' / (name if name.endswith('.png') else f'{name}.png')
        for path, name in names.items()
    }


def _finish(folder, parts, table):
    """Counts what there is; writes the whole if nothing is missing."""
    there = [part for part in parts if part.is_file()]
    counts = collections.Counter({'broken': 0, 'parts missing': len(parts) - len(there)})
    for part in there:
        content = json.loads(part.read_text())
        counts.update(
            pictures=content['pictures'],
            detections=len(content['rows']),
            broken=len(content['broken']),
        )
    if len(there) == len(parts):
        write_json(folder / 'detections.json', _entries(there, 'rows'))
        write_json(folder / 'broken.json', _entries(there, 'broken'))
        if table:
            write_csv(folder / 'detections.csv', _entries(there, 'rows'))
    return counts


def _entries(parts, key):
    return (row for part in parts for row in json.loads(part.read_text())[key])
