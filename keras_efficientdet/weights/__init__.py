"""Weights: the formats that they come in, official variable names, and what was released.

`files` reads and writes formats and depends on no model, `official` moves values between official
names and our variables, `released` fetches published checkpoints, `imagenet` reads backbones from
pip packages and `class_count` tells how many classes a set of weights predicts.
"""
