#!/usr/bin/env bash
# Cuts the cells of blood images (BCCD) out by their boxes, trains the classifier EfficientNet-Lite0 on them from
# its ImageNet weights, and prints top-1 accuracy on the test split. The settings are the recipe's, none was tuned.
# Usage: results/cells.sh DATA_FOLDER OUTPUT_FOLDER [more flags of efficientdet train]
set -euo pipefail
data=$1 output=$2
shift 2
cd "$(dirname "$0")/.."
[ -d "$output/test" ] || python - "$data" "$output" <<'PYTHON'
import pathlib, sys
from PIL import Image
import keras_efficientdet as ked
data, output = map(pathlib.Path, sys.argv[1:])
for split in ('train', 'val', 'test'):
    source = ked.read_coco(data / 'annotations' / f'{split}.json', data / 'images')
    for photo in source.photos:
        image = Image.open(photo.path).convert('RGB')
        for number, ((top, left, bottom, right), kind) in enumerate(zip(photo.boxes, photo.ids)):
            folder = output / split / source.label_map[kind]
            folder.mkdir(parents=True, exist_ok=True)
            cell = image.crop((round(left), round(top), round(right), round(bottom)))
            if min(cell.size) >= 8:  # a platelet cut off by the edge of the image
                cell.save(folder / f'{photo.id}_{number}.png')
PYTHON
python -m keras_efficientdet train --model=efficientnet-lite0 --train="$output/train" --valid="$output/val" \
  --test="$output/test" --workdir="$output/run" --weights=imagenet --recipe=small --evaluate_every=2 \
  batch_size=32 image_size=96 num_epochs=4 "$@"
