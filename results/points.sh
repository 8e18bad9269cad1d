#!/usr/bin/env bash
# Draws images of kites with four key points each, trains the head of key points on the backbone and pyramid of
# EfficientDet-Lite0 from ImageNet weights, and prints PCK and mean error on 80 held-out images.
# Usage: results/points.sh OUTPUT_FOLDER [more flags of efficientdet train]
set -euo pipefail
output=$1
shift
cd "$(dirname "$0")/.."
[ -d "$output/records" ] || PYTHONPATH=tools:. python - "$output" <<'PYTHON'
import pathlib
import sys

from drawn_key_points import NAMES, draw_data_set

import keras_efficientdet as ked

output = pathlib.Path(sys.argv[1])
for split, (count, seed) in {'train': (400, 1), 'val': (80, 2)}.items():
    table = draw_data_set(count, seed, output / 'data' / split)
    source = ked.read_key_points(table, table.parent, dict(enumerate(NAMES, 1)))
    ked.write_records(source, output / 'records' / split)
PYTHON
python -m keras_efficientdet train --model=efficientdet-lite0 --train="$output/records/train" \
  --valid="$output/records/val" --workdir="$output/run" --weights=imagenet --evaluate_every=2 \
  head=points optimizer=adam batch_size=8 num_epochs=16 learning_rate=0.016 \
  lr_warmup_init=1e-4 lr_warmup_epoch=0.5 moving_average_decay=0.98 jitter_min=0.8 jitter_max=1.25 "$@"
