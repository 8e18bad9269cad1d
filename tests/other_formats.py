"""A Source written in the formats of other programs, so that it can be read back.

Images are linked, not copied.
"""

import pathlib
from xml.sax.saxutils import escape

import numpy as np
import yaml


def write_voc(source, folder, splits=None):
    """VOC2012's layout. splits: {name: number of photos}, one after another."""
    for place in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (folder / place).mkdir(parents=True)
    for photo in source.photos:
        objects = ''.join(
            f'<object><name>{escape(source.label_map[i])}</name><difficult>0</difficult><bndbox>'
            + ''.join(
                f'<{side}>{float(v)!r}</{side}>'
                for side, v in zip(('ymin', 'xmin', 'ymax', 'xmax'), box, strict=True)
            )
            + '</bndbox></object>'
            for i, box in zip(photo.ids, photo.boxes, strict=True)
        )
        (folder / 'Annotations' / f'{photo.path.stem}.xml').write_text(
            f'<annotation><filename>{photo.path.name}</filename><size><width>{photo.width}</width><height>{photo.height}</height>'
            f'<depth>3</depth></size>{objects}</annotation>'
        )
        _link(photo, folder / 'JPEGImages')
    rest = iter(source.photos)
    for name, count in (splits or {}).items():
        (folder / 'ImageSets' / 'Main' / f'{name}.txt').write_text(
            ''.join(f'{next(rest).path.stem}\n' for _ in range(count))
        )
    return folder


def write_yolo(source, folder, split='train'):
    """images/<split>, labels/<split> and data.yaml; ids are 0, 1, ... in its order."""
    images, labels = folder / 'images' / split, folder / 'labels' / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    order = list(source.label_map)
    for photo in source.photos:
        (ymin, xmin, ymax, xmax), (h, w) = (
            np.reshape(photo.boxes, (-1, 4)).T,
            (photo.height, photo.width),
        )
        rows = np.stack(
            [(xmin + xmax) / 2 / w, (ymin + ymax) / 2 / h, (xmax - xmin) / w, (ymax - ymin) / h], -1
        )
        (labels / f'{photo.path.stem}.txt').write_text(
            ''.join(
                f'{order.index(i)} {" ".join(f"{v:.12f}" for v in row)}\n'
                for i, row in zip(photo.ids, rows, strict=True)
            )
        )
        _link(photo, images)
    (folder / 'data.yaml').write_text(
        yaml.safe_dump({split: f'images/{split}', 'names': list(source.label_map.values())})
    )
    return folder


def write_csv(source, folder):
    """all.csv, and the folder pictures beside it."""
    (folder / 'pictures').mkdir(parents=True)
    rows = [','.join(map(str, row)) for row in csv_rows(source)]
    (folder / 'all.csv').write_text(
        '\n'.join(['filename,width,height,xmin,ymin,xmax,ymax,class', *rows])
    )
    for photo in source.photos:
        _link(photo, folder / 'pictures')
    return folder


def csv_rows(source):
    """[(path, width, height, xmin, ymin, xmax, ymax, class)] of all boxes.

    Images without boxes have a row with empty places.
    """
    for photo in source.photos:
        for box, i in zip(photo.boxes, photo.ids, strict=True):
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            yield (
                photo.path.name,
                photo.width,
                photo.height,
                xmin,
                ymin,
                xmax,
                ymax,
                source.label_map[i],
            )
        if not photo.ids:
            yield photo.path.name, photo.width, photo.height, '', '', '', '', ''


def _link(photo, folder):
    (folder / photo.path.name).symlink_to(pathlib.Path(photo.path).resolve())


def assert_same(found, expected):
    """Two Sources have the same images in any order, with the same boxes and class names.

    Ids may differ.
    """
    by_name = {photo.path.name: photo for photo in found.photos}
    assert len(by_name) == len(found.photos) == len(expected.photos)
    for photo in expected.photos:
        same = by_name[photo.path.name]
        assert (same.height, same.width) == (photo.height, photo.width) and same.path.is_file()
        assert [found.label_map[i] for i in same.ids] == [expected.label_map[i] for i in photo.ids]
        np.testing.assert_allclose(same.boxes, photo.boxes, atol=1e-6)
