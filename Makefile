# Every target makes its own virtual environment from PYTHON and keeps it for the next time.
PYTHON ?= python3
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN = $(VENV)/bin

.PHONY: demo test test-slow test-engines test-serve test-torch test-wheel lint parity mutations clean

demo: $(VENV)/ready
	$(BIN)/python tools/demo.py

# Two processes: most of a test's time is one thread that traces a graph.
test: $(VENV)/ready
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -q -m slow

# The engines weigh 600 MB, so they are not in the `test` extra; the extras go in together with the core (docs/EXPORT.md).
# supervision, which reads `to_supervision`, is no dependency and goes in beside them.
test-engines: $(VENV)/engines
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/test_engines.py tests/test_tflite.py tests/test_export.py \
	  tests/test_video.py tests/test_results.py tests/test_processes.py tests/test_other_heads_engines.py

# A server and its clients over the loopback interface, with load: an environment of its own, since mlserver holds protobuf back.
test-serve: $(VENV)-serve/ready
	$(VENV)-serve/bin/python -m pytest -q -s -m "slow or not slow" tests/test_mlserver.py tests/test_tf_serving.py

$(VENV)-serve/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-serve
	$(VENV)-serve/bin/python -m pip install --quiet -e ".[pretrained,test,serve]"
	touch $@

$(VENV)/engines: $(VENV)/ready
	$(BIN)/python -m pip install --quiet -e ".[pretrained,test,onnx,openvino,litert,video]" supervision
	touch $@

# effdet and PyTorch (up to 6 GB) in an environment of their own; the test calls its Python.
test-torch: $(VENV)/ready $(VENV)-torch/ready
	$(BIN)/python -m pip install --quiet -e ".[pretrained,test,safetensors]"
	KERAS_EFFICIENTDET_TORCH=$(VENV)-torch/bin/python $(BIN)/python -m pytest -q tests/test_weights_torch.py

$(VENV)-torch/ready:
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip install --quiet torch torchvision effdet==0.4.1 safetensors
	touch $@

# The wheel in an empty environment, outside of the checkout.
test-wheel:
	tests/wheel_check.sh $(PYTHON) $(VENV)-wheel

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[pretrained,test]"
	touch $@

# Both lanes: docs/PARITY.md. PYTHON is lane A's, PYTHON_B lane B's.
PYTHON_B ?= python3.12
parity: $(VENV)/ready
	$(BIN)/python -m pytest -q -m "not slow or golden" -p parity --parity=lane-a.parity.json
	$(MAKE) lane-b.parity.json PYTHON=$(PYTHON_B)
	$(BIN)/python tests/parity.py lane-a.parity.json lane-b.parity.json

lane-b.parity.json: $(VENV)/ready
	$(BIN)/python -m pytest -q -m "not slow or golden" -p parity --parity=$@

mutations: $(VENV)/ready
	$(BIN)/python tests/mutations.py

clean:
	rm -rf .venv-* demo_output
