#!/usr/bin/env bash
# Blood cells in float32, bfloat16 and float16 over the same steps: Lite0 at 192x256, batch 8, the recipe for small data cut to 500
# steps; figures of val at the end of each. DATA_FOLDER holds the records that results/bccd.sh makes.
# Usage: results/precision.sh DATA_FOLDER OUTPUT_FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
train() {
  python "${@:4}" tools/train.py --train="$1/train" --valid="$1/val" --workdir="$2/$3" --weights=imagenet --recipe=small \
    --evaluate_every=20 --set=num_epochs=20 --set=batch_size=8 --set=image_size=[192,256] --set=anchor_scale=3.0 \
    --set=mixed_precision="$3"
}
train "$1" "$2" null
train "$1" "$2" mixed_bfloat16
train "$1" "$2" mixed_float16 tests/float16_on_cpu.py
