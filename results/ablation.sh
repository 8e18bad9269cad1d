#!/usr/bin/env bash
# Trains EfficientDet-Lite0 with each pyramid and each fusion of the EfficientDet paper on blood cells (BCCD) at
# 256x320 for 300 steps of batch size 8, from the ImageNet backbone, and compares cost and AP on the validation split.
# DATA_FOLDER is the output folder of results/bccd.sh or results/centernet.sh, which holds the records.
# Usage: results/ablation.sh DATA_FOLDER OUTPUT_FOLDER [more flags of efficientdet ablation]
set -euo pipefail
data=$1 output=$2
shift 2
cd "$(dirname "$0")/.."
python -m keras_efficientdet ablation --train="$data/train" --valid="$data/val" --workdir="$output" --steps=300 \
  --weights=imagenet --recipe=small batch_size=8 'image_size=[256,320]' anchor_scale=3.0 "$@"
