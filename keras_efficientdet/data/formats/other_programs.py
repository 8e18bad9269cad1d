"""Files of annotation programs in formats of their own, which are refused by name."""

import pathlib

# (program, words that all occur in its files)
_PROGRAMS = (
    ('VIA', (b'"_via_img_metadata"',)),
    ('VIA', (b'"shape_attributes"', b'"regions"')),
    ('labelme', (b'"shapes"', b'"imagePath"')),
    ('VoTT', (b'"assets"', b'"regions"', b'"boundingBox"')),
    ('Label Studio', (b'"data"', b'"annotations"', b'"result"')),
    ('Labelbox', (b'"data_row"', b'"projects"')),
    ('Supervisely', (b'"objects"', b'"exterior"')),
    ('CreateML', (b'"coordinates"', b'"label"', b'"image')),
)
_READ = 1 << 20  # bytes of each file; the words occur early
_FILES = 20  # of a folder; programs write files of one kind


def program_of(path):
    """'a.json is a file of labelme' for a file of another program in a folder, or None."""
    path = pathlib.Path(path)
    files = sorted(path.glob('*json')) if path.is_dir() else [path]
    for file in files[:_FILES]:
        with file.open('rb') as opened:
            content = opened.read(_READ)
        for program, words in _PROGRAMS:
            if all(word in content for word in words):
                return f'{file.name} is in the own format of {program}'
    return None
