"""Detection in very many image files, in parts.

A part is written when it is complete, and a later run on the same folder does the parts that are
missing. It needs the same model and the same images: job.json holds a hash of the model, and one of
the sizes and times of the images. Several machines can share one folder.
"""

import collections
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
from tqdm import tqdm

from keras_efficientdet.files import replaced_file, size_and_time
from keras_efficientdet.imaging.sources import read_image
from keras_efficientdet.inference.detector import Detector, StoredModel, model_fingerprint
from keras_efficientdet.inference.results import (
    image_id_of,
    image_ids_of,
    result_rows,
    save_drawn,
    write_csv,
    write_json,
)
from keras_efficientdet.threads import in_order

JOB = 'job.json'


def detect_files(
    model: Detector | keras.Model | StoredModel,
    paths: Iterable[str | os.PathLike],
    folder: str | os.PathLike,
    *,
    min_score: float = 0.3,
    part_size: int = 1000,
    shard: tuple[int, int] = (1, 1),
    drawn: bool = False,
    table: bool = False,
    batch_size: int = 8,
    workers: int | None = None,
    progress: bool = True,
) -> collections.Counter:
    """Finds objects in image files. Writes `folder`/parts/ and, when all parts exist,
    detections.json (COCO results with file names) and broken.json (files that cannot be read).
    No two images have the same id in them (`image_ids_of`).

    Args:
      model: a Detector or what it accepts; a file is loaded only if parts are missing.
      paths: of all images, the same in each run. part_size: images in a part.
      shard: (2, 16) does every 16th part, starting with the second.
      drawn: also writes images with boxes to `folder`/drawn/. table: also writes detections.csv.
      batch_size: of the Detector that is made here.
      workers: threads that read images ahead of the network; default: the number of cores.
    Returns:
      Counter: pictures, detections, broken (of all existing parts), parts, parts done before,
      parts missing, ids by path (images whose id in the results is their path, because another
      image has the same name in another folder).
    Raises:
      ValueError: the folder holds parts of another job, or `shard` is not valid.
      FileNotFoundError: no such model.
    """
    folder, paths = pathlib.Path(folder), [str(path) for path in paths]
    parts = _parts(folder, paths, part_size)
    mine = _share(list(parts), shard)
    settings = {'min_score': min_score, 'part_size': part_size, 'drawn': drawn}
    job = {**_identity(model, paths), **settings}
    _refuse_another_job(folder, job)
    before, ids = sum(part.is_file() for part in parts), image_ids_of(paths)
    missing = {part: parts[part] for part in mine if not part.is_file()}
    if missing:
        detector = model if isinstance(model, Detector) else Detector(model, batch_size)
        _note(folder, job)
        files = {'ids': ids, 'drawn': _drawn_paths(paths, folder) if drawn else None}
        _do(detector, missing, files, min_score, workers or os.cpu_count(), progress)
    counts = _finish(folder, list(parts), table)
    counts['parts done before'] = before
    counts['ids by path'] = sum(id != image_id_of(path) for path, id in ids.items())
    return counts


def _parts(folder, paths, part_size):
    """{file of a part: its paths}"""
    groups = [paths[i : i + part_size] for i in range(0, len(paths), part_size)]
    names = [f'{i:06d}-of-{len(groups):06d}.json' for i in range(1, len(groups) + 1)]
    return {folder / 'parts' / name: group for name, group in zip(names, groups, strict=True)}


def _share(parts, shard):
    """The parts of one shard (number, count), numbered from 1."""
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f'shard {number}/{count}: expected 1/{count} to {count}/{count}')
    return parts[number - 1 :: count]


def _identity(model, paths):
    """What tells this model and these images from others with the same names."""
    is_path = isinstance(model, str | os.PathLike)
    states = [size_and_time(path) for path in paths]
    return {
        'model': str(model) if is_path else type(model).__name__,
        'model_sha256': model_fingerprint(model),
        'pictures': len(paths),
        'list': _sha256('\n'.join(paths)),
        'sizes_and_times': _sha256(json.dumps(states)),
    }


def _sha256(text):
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _note(folder, job):
    with replaced_file(folder / JOB) as working:
        working.write_text(json.dumps(job, indent=1), encoding='utf-8')


def _refuse_another_job(folder, job):
    """Compares a job with the one that an earlier run noted in the folder.

    The path of the model is noted for people; its hash tells whether it is the same.
    """
    if not (folder / JOB).is_file():
        return
    noted = json.loads((folder / JOB).read_text(encoding='utf-8'))
    different = [
        f'{key} {noted.get(key)!r}, now {value!r}'
        for key, value in job.items()
        if key != 'model' and noted.get(key) != value
    ]
    if different:
        raise ValueError(
            f'{folder} was started with {"; ".join(different)}. Continue with the same values, or '
            'use another folder'
        )


def _do(detector, parts, files, min_score, workers, progress):
    total = sum(len(paths) for paths in parts.values())
    with tqdm(desc='detecting', unit=' images', total=total, disable=not progress) as bar:
        for part, paths in parts.items():
            content = detect_part(detector, paths, min_score, workers, bar.update, **files)
            with replaced_file(part) as working:
                working.write_text(
                    json.dumps({'pictures': len(paths), **content}), encoding='utf-8'
                )


def detect_part(
    detector: Detector,
    paths: Sequence[str],
    min_score: float,
    workers: int,
    on_done: Callable[[int], object] = lambda count: None,
    drawn: Mapping[str, str | os.PathLike] | None = None,
    ids: Mapping[str, int | str] | None = None,
) -> dict[str, list[dict]]:
    """Detections in image files, which threads read ahead of the network.

    Args:
      on_done: called with the number of images that were finished.
      drawn: {path: where to write the image with boxes}.
      ids: {path: image id}; default: by `image_id_of`.
    Returns:
      {'rows': `result_rows`, 'broken': [{'file_name', 'error'}]}, both in the order of the paths.
    """
    rows, broken = [], []
    reading = collections.deque()  # paths of the images that the detector has taken, in order

    def images():
        for path, image, error in in_order(_read, paths, workers):
            if error is None:
                reading.append(path)
                yield image
            else:
                broken.append({'file_name': path, 'error': error})
                on_done(1)

    for image, found in detector.with_arrays(images()):
        path = reading.popleft()
        found = found.above(min_score)
        rows += result_rows(found, path, ids[path] if ids else None)
        if drawn:
            save_drawn(drawn[path], image, found)
        on_done(1)
    return {'rows': rows, 'broken': broken}


def _read(path):
    """(path, uint8 image or None, error or None)"""
    try:
        return path, read_image(path), None
    except OSError as error:
        return path, None, str(error)


def _drawn_paths(paths, folder):
    """{path: where its image with boxes is written}, always as PNG.

    The folders below the deepest one that holds all images are kept, and so is the suffix of the
    original, because a.jpg and a.bmp may lie in one folder.
    """
    absolute = {path: os.path.abspath(path) for path in paths}
    base = os.path.commonpath([os.path.dirname(path) for path in absolute.values()])
    targets = {}
    for path, full in absolute.items():
        name = os.path.relpath(full, base)
        targets[path] = folder / 'drawn' / (name if name.endswith('.png') else f'{name}.png')
    return targets


def _finish(folder, parts, table):
    """Counts the existing parts; writes the complete results if none is missing."""
    existing = [part for part in parts if part.is_file()]
    missing = len(parts) - len(existing)
    counts = collections.Counter({'broken': 0, 'parts': len(parts), 'parts missing': missing})
    for part in existing:
        content = json.loads(part.read_text(encoding='utf-8'))
        counts['pictures'] += content['pictures']
        counts['detections'] += len(content['rows'])
        counts['broken'] += len(content['broken'])
    if not missing:
        write_json(folder / 'detections.json', _entries(existing, 'rows'))
        write_json(folder / 'broken.json', _entries(existing, 'broken'))
        if table:
            write_csv(folder / 'detections.csv', _entries(existing, 'rows'))
    return counts


def _entries(parts, key):
    for part in parts:
        yield from json.loads(part.read_text(encoding='utf-8'))[key]
