"""Arithmetic of boxes, anchors and images: tensors and arrays, no Keras layer, no configuration."""
