"""JSON objects in the headers of files, and the reading of their values with checks."""

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from abawcli.errors import InputError

JsonObject = dict[str, Any]
Value = TypeVar("Value")
_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def parse_object(text: str | bytes) -> JsonObject:
    """Return a JSON object.

    Raises:
        ValueError: it is not an object, or is nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}, not an object")
    return value


def read_optional(
    values: JsonObject, key: str, kind: type[Value], path: str | Path
) -> Value | None:
    """Return a value of a JSON object, None if it is null or missing.

    Raises:
        InputError: it has another type.
    """
    value = values.get(key)
    kinds = (int, float) if kind is float else (kind,)
    if value is None:
        return None
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise InputError(
            f"{path}: its metadata has {reprlib.repr(value)} as {key}, which is not {_NAMES[kind]}"
        )
    return value  # type: ignore[return-value]


def read_value(values: JsonObject, key: str, kind: type[Value], path: str | Path) -> Value:
    """Return a value of a JSON object.

    Raises:
        InputError: it is missing, or has another type.
    """
    value = read_optional(values, key, kind, path)
    if value is None:
        raise InputError(f"{path}: its metadata has no {key}, {_NAMES[kind]}")
    return value


def read_objects(values: JsonObject, key: str, path: str | Path) -> list[JsonObject]:
    """Return a value of a JSON object that is a list of JSON objects.

    Raises:
        InputError: it is not there, or is something else.
    """
    listed: Sequence[Any] = read_value(values, key, list, path)
    return [read_value({key: value}, key, dict, path) for value in listed]


def read_numbers(values: JsonObject, key: str, path: str | Path) -> tuple[float, ...]:
    """Return a value of a JSON object that is a list of numbers.

    Raises:
        InputError: it is not there, or is something else.
    """
    listed: Sequence[Any] = read_value(values, key, list, path)
    return tuple(read_value({key: value}, key, float, path) for value in listed)
