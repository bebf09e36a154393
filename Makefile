# make demo: from nothing to labels.csv and timeline.png.
# make test: everything that must hold before a commit.
# make fuzz: damaged files for FUZZ seconds, always the same ones; FUZZ_SEED begins with others.
# Needs Python >= 3.11 (PYTHON=python3.12 to choose one), make and a package index.
# Without a GPU the smaller torch does: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
CLIP ?= sample_videos/expressions.mp4
FUZZ ?= 60
FUZZ_SEED ?= 1000
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
LISTS = pyproject.toml constraints.txt

.PHONY: demo test fuzz clean

demo: $(VENV)/.installed
	$(VENV)/bin/abaw predict $(CLIP) -o labels.csv --overwrite
	@echo "labels.csv begins:"; head -n 4 labels.csv
	$(VENV)/bin/abaw plot labels.csv -o timeline.png --overwrite
	@echo "The expressions over time are drawn in timeline.png"

# Without restarts, a test that crashes its process fails the run, which would wait forever otherwise.
test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

fuzz: $(VENV)/.installed-dev
	$(VENV)/bin/python benchmarks/fuzz.py --seconds $(FUZZ) --seed $(FUZZ_SEED)

# pip of the Python release may be too old for `--group`.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("abaw needs Python 3.11 or newer; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

# OpenCV's usual build needs libGL and GLib of the system; its headless build needs neither. Both
# own the same files, so the one has to go before the other comes.
$(VENV)/.installed: $(LISTS) | $(VENV)/.python
	$(PIP) install -c constraints.txt -e .
	@$(VENV)/bin/python -c 'import cv2' || { \
	  echo 'cv2 does not load here: replacing opencv-python by opencv-python-headless'; \
	  $(PIP) uninstall --yes opencv-python opencv-python-headless && \
	  $(PIP) install -c constraints.txt opencv-python-headless && \
	  $(VENV)/bin/python -c 'import cv2'; } || { \
	  echo 'cv2 still does not load; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0'; \
	  exit 1; }
	@touch $@

# Reports are tested in a browser; without one those tests are skipped.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt --group dev
	@command -v chromedriver > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
	  --no-install-recommends chromium chromium-driver > /dev/null && \
	  { apt-get -qq install -y chromium-headless-shell > /dev/null || true; }; } || \
	  echo 'no chromium and chromedriver here: tests of reports in a browser are skipped'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis labels.csv* timeline.png*
