"""What the tools share: TensorFlow without its start-up noise, errors as one line. Import it before keras_efficientdet."""

import os
import re
import sys
import tempfile
import warnings

from absl import app

_NOISE = re.compile(
    'cuda|cuDNN|cuBLAS|cuFFT|TensorRT|oneDNN|absl::InitializeLog|AVX|rebuild TensorFlow|cpu_feature',
    re.I,
)


def _import_tensorflow():
    """No environment variable silences all of it, so stderr is held back during the import and replayed without the noise."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.filterwarnings('ignore', module='tensorflow_addons')
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            lines = held.read().decode(errors='replace').splitlines(keepends=True)
            sys.stderr.write(''.join(line for line in lines if not _NOISE.search(line)))


_import_tensorflow()


def detection_config(model, given):
    """The Config of a trained model with --set. Raises ValueError for a key that the network was made with."""
    from keras_efficientdet import load_config

    config = load_config(model.detection_config, given)
    made = model.detection_config.to_dict()['model']
    changed = [
        key
        for key, value in config.to_dict()['model'].items()
        if value != made[key] and key != 'label_map'
    ]
    if changed:
        raise ValueError(
            f'--set: {", ".join(changed)} cannot be changed, the network was made with {made[changed[0]]!r}; keys '
            'of the section `detect` can'
        )
    return config


def run(main):
    """Runs `main(argv)`; errors that a user can mend are one line and exit status 1."""

    def guarded(argv):
        if len(argv) > 1:
            raise app.UsageError(f'unexpected arguments {argv[1:]}; everything is a --flag')
        try:
            main(argv)
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get('KERAS_EFFICIENTDET_TRACEBACK'):
                raise
            sys.exit(f'error: {error}')

    app.run(guarded)
