"""What abaw raises on purpose.

    AbawError             anything a user can act on; one line, exit 1
    ├── UsageError        the call itself is wrong (options, names); exit 2
    ├── InputError        an input file is missing, unreadable or not what it should be
    ├── OutputError       an output exists or cannot be written
    └── CheckpointError   weights are missing, damaged, or made for something else

Every message says what is wrong, names the value, and where there is one, the way out.
"""


class AbawError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(AbawError):
    """The call cannot be carried out as it was written."""

    exit_code = 2


class InputError(AbawError):
    """An input cannot be read, or holds something else than it should."""


class OutputError(AbawError):
    """An output is in the way or cannot be written."""


class CheckpointError(AbawError):
    """A weights file is missing, damaged, or belongs to another model."""


def explain_os_error(path: object, error: OSError) -> str:
    """Say why a file could not be read, by the name that a person knows it by."""
    if isinstance(error, FileNotFoundError):
        return f"no such file: {path}"
    if isinstance(error, PermissionError):
        return f"cannot read {path}: permission denied"
    if isinstance(error, IsADirectoryError):
        return f"cannot read {path}: it is a folder"
    return f"cannot read {path}: {error.strerror or error}"
