"""The exceptions of this package.

Every message names the file or key, what was found, what was expected and what to do.
"""


class ConfigError(ValueError):
    """A configuration has an unknown key, model or preset, or a value that its key refuses."""


class DataError(ValueError):
    """A data set has a fault."""


class MissingRecordsError(DataError):
    """There are no TFRecord files at a place."""


class CheckpointError(ValueError):
    """A checkpoint is unreadable or does not fit the model; nothing was assigned."""


class NonFiniteLossError(ValueError):
    """The training loss became infinite or NaN."""
