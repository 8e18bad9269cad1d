"""The exceptions of this package. Each message names the file or key, what was found, what was expected and what to do."""


class ConfigError(ValueError):
    """A configuration names an unknown key, an unknown model, or a value of the wrong type."""


class DataError(ValueError):
    """A data set has a fault; the message names the file or key, what was found and what was expected."""


class MissingRecordsError(DataError):
    """There are no TFRecord files at a place."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not fit the model; nothing was assigned."""


class NonFiniteLossError(ValueError):
    """The training loss became infinite or no number."""
