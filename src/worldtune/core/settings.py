"""Strict settings: an unknown key is an error that suggests the nearest known key."""

import reprlib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from worldtune.errors import RecipeError, did_you_mean


class StrictModel(BaseModel):
    """A frozen settings object that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def parse_model(model: type[Model], data: Any, where: str) -> Model:
    """Return `data` as a `model`. Raise RecipeError with the first fault, its key and a hint."""
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        raise _first_error(model, error, where) from None
    if fault := find_bool_mismatch(data, found.model_dump(by_alias=True)):
        raise RecipeError(fault, where=where, hint="Use true or false only for booleans.")
    return found


def find_bool_mismatch(given: Any, parsed: Any, key: str = "") -> str | None:
    """Describe the first place where pydantic silently converted a boolean to a number, or the reverse.

    Return None if there is no such place. `parsed` are pydantic's values of `given`.
    """
    if isinstance(given, dict) and isinstance(parsed, dict):
        pairs = [(name, value, parsed[name]) for name, value in given.items() if name in parsed]
    elif isinstance(given, list | tuple) and isinstance(parsed, list | tuple):
        pairs = [(number, *pair) for number, pair in enumerate(zip(given, parsed, strict=False))]
    elif isinstance(given, bool) == isinstance(parsed, bool):
        return None
    else:
        kind = "not true or false" if isinstance(parsed, bool) else "a boolean"
        return f"'{key}' is {reprlib.repr(given)}: {kind}"
    faults = (find_bool_mismatch(value, result, f"{key}.{name}".removeprefix(".")) for name, value, result in pairs)
    return next(filter(None, faults), None)


def _first_error(model: type[BaseModel], error: ValidationError, where: str) -> RecipeError:
    """Return the first error; unknown keys come first, because a misspelled key also makes another one missing."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    key = ".".join(str(part) for part in first["loc"])
    hint = f"Correct '{key}'." if key else "Correct it."
    if first["type"] == "extra_forbidden":
        return _unknown_key(model, first["loc"], where)
    if first["type"] == "missing":
        return RecipeError(f"the key '{key}' is missing", where=where, hint=f"Add '{key}'.")
    if first["type"] == "value_error":  # a rule over several keys, with its own message
        rule = str(first["ctx"]["error"])
        return RecipeError(f"'{key}': {rule}" if key else rule, where=where, hint=hint)
    found = reprlib.repr(first["input"])
    what = f"'{key}' is {found}" if key else found
    return RecipeError(f"{what}: {first['msg'].lower()}", where=where, hint=hint)


def _unknown_key(model: type[BaseModel], location: tuple[int | str, ...], where: str) -> RecipeError:
    known = _keys_at(model, location[:-1])
    key = str(location[-1])
    hint = did_you_mean(key, known, f"Known keys: {', '.join(known)}.", likeness=0.5)
    return RecipeError(f"unknown key '{'.'.join(str(part) for part in location)}'", where=where, hint=hint)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed in the section at `location`."""
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        model = _model_in(field.annotation) if field else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the settings class inside `X`, `X | None`, `list[X]` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(part) for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    return next((model for model in inner if model is not StrictModel), StrictModel)
