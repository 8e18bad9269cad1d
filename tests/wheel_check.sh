#!/usr/bin/env bash
# Installs the wheel into an empty environment, with the core requirements alone, and runs the
# commands there, outside of the checkout, on drawn images.
# Usage: tests/wheel_check.sh PYTHON FOLDER    (FOLDER is created; about 2 GB)
set -euo pipefail
python=$1
folder=$2
checkout=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[ -x "$folder/env/bin/python" ] || "$python" -m venv "$folder/env"

rm -rf "$folder/wheel" "$folder/run"
mkdir -p "$folder/wheel" "$folder/run/home"
# Built from a copy: setuptools leaves folders where it builds.
mkdir "$folder/wheel/sources"
(cd "$checkout" && cp -a keras_efficientdet hparams pyproject.toml requirements.txt README.md LICENSE \
  "$folder/wheel/sources")
"$folder/env/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$folder/wheel" \
  "$folder/wheel/sources"
"$folder/env/bin/python" -m pip install --quiet "$folder"/wheel/*.whl
"$folder/env/bin/python" -m pip install --quiet --force-reinstall --no-deps "$folder"/wheel/*.whl

cd "$folder/run"
export KERAS_HOME=$PWD/home
unset PYTHONPATH
PATH=$folder/env/bin:$PATH
cp "$checkout/tools/drawn_shapes.py" .
python -c 'from drawn_shapes import draw_data_set; draw_data_set(20, 1, "photos")'

say() { echo "== $*"; }
say help; efficientdet --help
say python -m; python -m keras_efficientdet --help | cmp - <(efficientdet --help)
say version; efficientdet version
say models; efficientdet models
say doctor  # status 1: there are errors to find in so few images
efficientdet doctor --train=photos --fast --json batch_size=8 > doctor.json || [ $? = 1 ]
python -m json.tool doctor.json
say records; efficientdet records --input=photos --output=records
say train, two steps and no --valid
efficientdet train --train=photos --workdir=trained image_size=128 num_epochs=1 batch_size=8 \
  fpn_num_filters=16 fpn_cell_repeats=1 box_class_repeats=1 max_nms_inputs=200 | tee train.txt
grep -q 'no --valid: 4 of 20 images set aside' train.txt
say evaluate; efficientdet evaluate --model=trained --data=records --json > metrics.json
python -c 'import json; print(json.load(open("metrics.json"))["AP"])'
say detect; efficientdet detect --model=trained --images=photos --output=found --min_score=0.01
python -m json.tool found/detections.json > detections.txt
say export; efficientdet export --model=trained --output=exported
say detect with the export
efficientdet detect --model=exported --images=photos --output=found_again --min_score=0.01
say export to TFLite; efficientdet export --model=trained --output=net.tflite --format=tflite
echo "the wheel works: $(efficientdet version --json | python -c '
import json, sys
found = json.load(sys.stdin)
print("Python", found["python"], "TensorFlow", found["tensorflow"], "Keras", found["keras"])')"
