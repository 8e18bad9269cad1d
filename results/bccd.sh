#!/usr/bin/env bash
# Trains EfficientDet-Lite0 on blood cells (BCCD) at 384x512, batch size 8, from the ImageNet backbone, with
# the recipe for small data sets, and prints the metrics on the test split. The settings were chosen on the
# validation split (results/bccd.csv).
# Usage: results/bccd.sh DATA_FOLDER OUTPUT_FOLDER [more flags of tools/train.py]
set -euo pipefail
data=$1 output=$2
shift 2
cd "$(dirname "$0")/.."
for split in train val test; do
  [ -d "$output/$split" ] ||
    python tools/make_records.py --annotations="$data/annotations/$split.json" --images="$data/images" --output="$output/$split"
done
python tools/train.py --train="$output/train" --valid="$output/val" --test="$output/test" --workdir="$output/run" \
  --weights=imagenet --recipe=small --evaluate_every=5 --set=batch_size=8 --set=image_size=[384,512] --set=anchor_scale=3.0 "$@"
