"""Boxes as rows of COCO files."""


def coco_rows(image_id, boxes, scores, classes, ids):
    """Detections of one image as rows of a COCO results file.

    Each row is {'image_id', 'category_id', 'bbox': [x, y, width, height], 'score'}.

    Args:
      boxes: [D, 4] ymin xmin ymax xmax in pixels. scores: [D]. classes: int [D], 0-based.
      ids: category ids in class order.
    """
    return [
        {'image_id': image_id, 'category_id': ids[c], 'bbox': xywh(box), 'score': float(score)}
        for box, score, c in zip(boxes, scores, classes, strict=True)
    ]


def xywh(box):
    """ymin xmin ymax xmax -> [x, y, width, height] as floats, COCO's order."""
    ymin, xmin, ymax, xmax = map(float, box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]
