"""The errors that abaw raises.

    AbawError             any error that a user can resolve; one line, exit 1
    ├── UsageError        the call is wrong (options, names); exit 2
    ├── InputError        an input file is missing, unreadable or invalid
    ├── OutputError       an output exists already or cannot be written
    └── CheckpointError   weights are missing, damaged, or of another model

Every message says what is wrong, names the value, and suggests a solution where there is one.
"""

import re

_LINE_BREAKS = re.compile(r"\r?\n|\r")


class AbawError(Exception):
    """Base class; `exit_code` is the exit status of the command line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        """Take a message; line breaks in it, of names or of libraries' messages, become escapes."""
        super().__init__(_LINE_BREAKS.sub(r"\\n", message.rstrip("\r\n")))


class UsageError(AbawError):
    """The call is wrong: an option, a name or a combination of them."""

    exit_code = 2


class InputError(AbawError):
    """An input cannot be read or is invalid."""


class OutputError(AbawError):
    """An output exists already or cannot be written."""


class CheckpointError(AbawError):
    """A file of weights is missing, damaged, or of another model."""


def explain_os_error(path: object, error: OSError) -> str:
    """Return the message for a file that cannot be read; `path` is the name that the user gave."""
    if isinstance(error, FileNotFoundError):
        return f"no such file: {path}"
    if isinstance(error, PermissionError):
        return f"cannot read {path}: permission denied"
    if isinstance(error, IsADirectoryError):
        return f"cannot read {path}: it is a folder"
    return f"cannot read {path}: {error.strerror or error}"


def describe_error(error: Exception) -> str:
    """Return the message of an error; an unexpected one is called an internal error."""
    if isinstance(error, AbawError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, MemoryError):
        return "not enough memory for this input"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"internal error: {what}; run with -v and report it"
