"""The exceptions of this package.

Every message names the file or key, what was found, what was expected and what to do.
"""


class ConfigError(ValueError):
    """A configuration has an unknown key, model or preset, or a value that its key refuses."""


class DataError(ValueError):
    """A data set has a fault."""


class DataFaults(DataError):  # noqa: N818 (several errors)
    """A data set has several faults, found in one pass; the message lists the first of them."""

    _LISTED = 10

    def __init__(self, faults):
        more = len(faults) - self._LISTED
        lines = [str(fault) for fault in faults[: self._LISTED]]
        lines += [f'and {more} more'] if more > 0 else []
        super().__init__('\n  '.join([f'{len(faults)} faults:', *lines]))
        self.faults = list(faults)

    def __reduce__(self):  # exceptions are pickled with their message in place of the arguments
        return type(self), (self.faults,)


def raise_faults(faults: list[DataError]) -> None:
    """Raises DataErrors as one, if there are any; those of a DataFaults count one by one."""
    single = [one for fault in faults for one in getattr(fault, 'faults', [fault])]
    if single:
        raise single[0] if len(single) == 1 else DataFaults(single)


class MissingRecordsError(DataError):
    """There are no TFRecord files at a place."""


class CheckpointError(ValueError):
    """A checkpoint is unreadable or does not fit the model; nothing was assigned."""


class NonFiniteLossError(ValueError):
    """The training loss became infinite or NaN."""
