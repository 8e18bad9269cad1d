"""Trained models in use: one `Detector` for every engine, image files in, detections out."""
