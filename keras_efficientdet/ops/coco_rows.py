"""Boxes as rows of COCO files."""


def coco_rows(image_id, boxes, scores, classes, ids):
    """Detections of one picture as rows of a COCO results file: [{'image_id', 'category_id', 'bbox', 'score'}].

    bbox = x, y, width, height; `ids` are the data set's own, in class order.
    """
    return [
        {'image_id': image_id, 'category_id': ids[c], 'bbox': xywh(box), 'score': float(score)}
        for box, score, c in zip(boxes, scores, classes, strict=True)
    ]


def xywh(box):
    ymin, xmin, ymax, xmax = map(float, box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]
