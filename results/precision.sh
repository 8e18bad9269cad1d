#!/usr/bin/env bash
# Trains Lite0 on blood cells with the same steps in float32, bfloat16 and float16, and prints the metrics on
# the validation split for each: 96x128, batch size 8, the recipe for small data sets limited to 500 steps.
# The images are small because TensorFlow's float16 gradients of convolutions are slow on a CPU: even so a
# step takes 4 s, and all three trainings about 40 minutes on two cores.
# DATA_FOLDER is the output folder of results/bccd.sh, which holds the records.
# Usage: results/precision.sh DATA_FOLDER OUTPUT_FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
for precision in null mixed_bfloat16 mixed_float16; do
  python tools/train.py --train="$1/train" --valid="$1/val" --workdir="$2/$precision" --weights=imagenet --recipe=small \
    --evaluate_every=20 --set=num_epochs=20 --set=batch_size=8 --set=image_size=[96,128] --set=anchor_scale=3.0 \
    --set=mixed_precision="$precision"
done
