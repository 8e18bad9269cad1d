#!/usr/bin/env bash
# Blood cells: EfficientDet-Lite0 at 320, batch 8, 300 steps from the ImageNet backbone; figures of the test split at the end.
# Settings were chosen on val (results/bccd.csv). Usage: results/bccd.sh DATA_FOLDER OUTPUT_FOLDER [more flags of tools/train.py]
set -euo pipefail
data=$1 output=$2
shift 2
cd "$(dirname "$0")/.."
for split in train val test; do
  [ -d "$output/$split" ] ||
    python tools/make_records.py --annotations="$data/annotations/$split.json" --images="$data/images" --output="$output/$split"
done
python tools/train.py --train="$output/train" --valid="$output/val" --test="$output/test" --workdir="$output/run" \
  --weights=imagenet --evaluate_every=12 --set=batch_size=8 --set=num_epochs=12 --set=optimizer=adam --set=learning_rate=0.024 \
  --set=lr_warmup_init=0.0001 --set=anchor_scale=2.0 --set=jitter_min=0.8 --set=jitter_max=1.25 "$@"
