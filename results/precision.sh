#!/usr/bin/env bash
# Blood cells in float32, bfloat16 and float16 over the same steps: Lite0 at 96x128, batch 8, the recipe for small data cut to 500
# steps; figures of val at the end of each. Small pictures, since TensorFlow's float16 gradients of convolutions are slow on a CPU:
# 4 s a step even here, so about 40 minutes on two cores. DATA_FOLDER holds the records that results/bccd.sh makes.
# Usage: results/precision.sh DATA_FOLDER OUTPUT_FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
for precision in null mixed_bfloat16 mixed_float16; do
  python tools/train.py --train="$1/train" --valid="$1/val" --workdir="$2/$precision" --weights=imagenet --recipe=small \
    --evaluate_every=20 --set=num_epochs=20 --set=batch_size=8 --set=image_size=[96,128] --set=anchor_scale=3.0 \
    --set=mixed_precision="$precision"
done
