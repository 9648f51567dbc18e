"""Settings that are read strictly: an unknown key is an error that names the nearest known one."""

import reprlib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from worldtune.errors import RecipeError, did_you_mean


class Strict(BaseModel):
    """A frozen settings object that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Settings = TypeVar("Settings", bound=BaseModel)


def parse(model: type[Settings], data: Any, where: str) -> Settings:
    """`data` as `model`. Raises RecipeError that names the first fault, its key and the mend."""
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        raise _first_fault(model, error, where) from None
    if fault := mistaken_truth(data, found.model_dump(by_alias=True)):
        raise RecipeError(fault, where=where, mend="Only true and false are truth values, and they are nothing else.")
    return found


def mistaken_truth(said: Any, taken: Any, key: str = "") -> str | None:
    """Say where true or false was taken for a number, or anything else for true or false; None if nowhere.

    pydantic does both in silence. `taken` are the values that it made of `said`.
    """
    if isinstance(said, dict) and isinstance(taken, dict):
        pairs = [(name, value, taken[name]) for name, value in said.items() if name in taken]
    elif isinstance(said, list | tuple) and isinstance(taken, list | tuple):
        pairs = [(number, *pair) for number, pair in enumerate(zip(said, taken, strict=False))]
    elif isinstance(said, bool) == isinstance(taken, bool):
        return None
    else:
        kind = "not true or false" if isinstance(taken, bool) else "a truth value"
        return f"'{key}' is {reprlib.repr(said)}: {kind}"
    faults = (mistaken_truth(value, made, f"{key}.{name}".removeprefix(".")) for name, value, made in pairs)
    return next(filter(None, faults), None)


def _first_fault(model: type[BaseModel], error: ValidationError, where: str) -> RecipeError:
    """Unknown keys first: one that is misspelt also shows as another that is missing."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    key = ".".join(str(part) for part in first["loc"])
    mend = f"Correct '{key}'." if key else "Correct it."
    if first["type"] == "extra_forbidden":
        return _unknown_key(model, first["loc"], where)
    if first["type"] == "missing":
        return RecipeError(f"the key '{key}' is missing", where=where, mend=f"Add '{key}'.")
    if first["type"] == "value_error":  # a rule over several keys, which says itself what it wants
        rule = str(first["ctx"]["error"])
        return RecipeError(f"'{key}': {rule}" if key else rule, where=where, mend=mend)
    found = reprlib.repr(first["input"])
    what = f"'{key}' is {found}" if key else found
    return RecipeError(f"{what}: {first['msg'].lower()}", where=where, mend=mend)


def _unknown_key(model: type[BaseModel], location: tuple[int | str, ...], where: str) -> RecipeError:
    known = _keys_at(model, location[:-1])
    key = str(location[-1])
    mend = did_you_mean(key, known, f"Known keys: {', '.join(known)}.", likeness=0.5)
    return RecipeError(f"unknown key '{'.'.join(str(part) for part in location)}'", where=where, mend=mend)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed in the section at `location`."""
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        model = _model_in(field.annotation) if field else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel]:
    """The settings class inside `X`, `X | None`, `list[X]` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(part) for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    return next((model for model in inner if model is not Strict), Strict)
