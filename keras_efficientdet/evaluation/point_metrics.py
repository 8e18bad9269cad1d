"""Metrics of key points, from the rows that COCO's metrics are computed from.

Distances are in parts of the longer side of the network's input, scaled to the image: an image that
fills its input has this as its longer side.
"""

import collections

import numpy as np

CLOSE = 0.05  # distance within which a point counts as found
SQUARE = 0.15  # side of the squares that stand for points: two have IoU 0.5 at a third of it


def as_squares(truth: list, found: list, sides: dict) -> tuple[list, list]:
    """(truth, found) with a square around each point in place of its box without size.

    COCO's AP then says how well points are found and ranked: AP50 counts points that are at most
    `CLOSE` away in one direction.

    Args:
      truth, found: as of `coco.coco_run`. sides: {image id: side in pixels}.
    """
    squares = [
        (i, [{**a, 'bbox': _square(a['bbox'], sides[i]), 'area': _area(sides[i])} for a in rows])
        for i, rows in truth
    ]
    return squares, [{**row, 'bbox': _square(row['bbox'], sides[row['image_id']])} for row in found]


def _square(bbox, side):
    x, y = _middle(bbox)
    half = SQUARE * side / 2
    return [x - half, y - half, 2 * half, 2 * half]


def _area(side):
    return float((SQUARE * side) ** 2)


def _middle(bbox):
    x, y, width, height = bbox
    return x + width / 2, y + height / 2


def distances(truth: list, found: list) -> np.ndarray:
    """Of each annotated point, the distance of the one found for it; 1 where none was.

    The points found go, best first, to the nearest point of their class that has none yet.

    Args:
      truth, found: of `as_squares`.
    Returns:
      float64 [N], in the order of `truth`.
    """
    by_kind = collections.defaultdict(list)
    for row in sorted(found, key=lambda row: -row['score']):
        by_kind[row['image_id'], row['category_id']].append(_middle(row['bbox']))
    result = []
    for image_id, annotations in truth:
        points = np.array([_middle(a['bbox']) for a in annotations]).reshape(-1, 2)
        kinds = np.array([a['category_id'] for a in annotations])
        nearest = np.ones(len(points))
        for kind in set(kinds.tolist()):
            mine = kinds == kind
            away = _taken(points[mine], by_kind[image_id, kind])
            side = annotations[0]['bbox'][2] / SQUARE
            nearest[mine] = np.minimum(away / side, 1.0)
        result.append(nearest)
    return np.concatenate(result) if result else np.zeros(0)


def _taken(points, found):
    """Distance in pixels of each point to the one found for it; infinite where none is left."""
    away = np.full(len(points), np.inf)
    for place in found:
        free = np.isinf(away)
        if not free.any():
            break
        lengths = np.where(free, np.hypot(*(points - place).T), np.inf)
        away[np.argmin(lengths)] = lengths.min()
    return away


def metrics(truth: list, found: list) -> dict[str, float]:
    """{'PCK': share of points found within CLOSE, 'mean_error': mean of `distances`}.

    nan if there are no points. Arguments of `as_squares`.
    """
    away = distances(truth, found)
    if not away.size:
        return {'PCK': float('nan'), 'mean_error': float('nan')}
    return {'PCK': float(np.mean(away <= CLOSE)), 'mean_error': float(np.mean(away))}
