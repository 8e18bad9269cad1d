"""Models at work: one detector over every engine, files in, detections out."""
