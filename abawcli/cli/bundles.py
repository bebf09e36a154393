"""Options that belong together: a command receives their values as one record."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

Command = Callable[..., Any]
Option = Callable[[Command], Command]


def bundle_options(name: str, record: type[Any], options: Sequence[Option]) -> Option:
    """Return a decorator that adds options, in this order; the command receives a record `name`.

    `record` is a dataclass whose fields are the options' parameters.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def bundled(*args: Any, **values: Any) -> Any:
            fields = record.__dataclass_fields__
            values[name] = record(**{field: values.pop(field) for field in fields})
            return command(*args, **values)

        result: Command = bundled
        for option in reversed(options):
            result = option(result)
        return result

    return add
