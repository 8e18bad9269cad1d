"""Arithmetic of boxes, anchors and images on tensors and arrays: no Keras layer, no configuration."""
