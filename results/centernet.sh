#!/usr/bin/env bash
# Trains CenterNet on the backbone of EfficientDet-Lite0 on blood cells (BCCD) at 384x512, 1,000 steps of batch
# size 8, from the ImageNet backbone, with the recipe for small data sets, and prints the metrics on the test split.
# Usage: results/centernet.sh DATA_FOLDER OUTPUT_FOLDER [more flags of efficientdet train]
set -euo pipefail
data=$1 output=$2
shift 2
cd "$(dirname "$0")/.."
for split in train val test; do
  [ -d "$output/$split" ] ||
    python -m keras_efficientdet records --annotations="$data/annotations/$split.json" --images="$data/images" --output="$output/$split"
done
python -m keras_efficientdet train --model=centernet-lite0 --train="$output/train" --valid="$output/val" --test="$output/test" \
  --workdir="$output/run" --weights=imagenet --recipe=small --evaluate_every=5 batch_size=8 'image_size=[384,512]' "$@"
