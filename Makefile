# Every target makes its own virtual environment from PYTHON and keeps it for the next time.
PYTHON ?= python3
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN = $(VENV)/bin

.PHONY: demo test test-slow lint parity clean

demo: $(VENV)/ready
	$(BIN)/python tools/demo.py

test: $(VENV)/ready
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/ready
	$(BIN)/ruff check .

$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[pretrained,test]"
	touch $@

clean:
	rm -rf .venv-* demo_output
