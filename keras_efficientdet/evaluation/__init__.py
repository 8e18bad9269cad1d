"""How good detections are: COCO metrics, their analysis, and a report of both."""
