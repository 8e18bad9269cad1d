#!/usr/bin/env bash
# Draws images of shapes with boxes and masks (those of the demo), trains EfficientDet-Lite0 with a segmentation
# beside its boxes on them from the ImageNet backbone, and prints AP and mIoU on 80 held-out images.
# Usage: results/masks.sh OUTPUT_FOLDER [more flags of efficientdet train]
set -euo pipefail
output=$1
shift
cd "$(dirname "$0")/.."
[ -d "$output/data" ] || PYTHONPATH=tools python - "$output" <<'PYTHON'
import pathlib
import sys

from drawn_shapes import draw_data_set

for split, (count, seed) in {'train': (320, 1), 'val': (80, 2)}.items():
    draw_data_set(count, seed, pathlib.Path(sys.argv[1]) / 'data' / split)
PYTHON
python -m keras_efficientdet train --model=efficientdet-lite0 --train="$output/data/train" \
  --valid="$output/data/val" --workdir="$output/run" --weights=imagenet --evaluate_every=4 \
  head=anchor+segmentation optimizer=adam batch_size=8 num_epochs=16 learning_rate=0.024 \
  lr_warmup_init=1e-4 lr_warmup_epoch=0.5 jitter_min=0.8 jitter_max=1.25 "$@"
