"""Weights of official checkpoints, backbones and released detectors, read and written."""
