"""From bytes to values that are what they should be, or an error that says where they are not."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from services.gateway.errors import ApiError

M = TypeVar("M", bound=BaseModel)

_AS_GIVEN: Mapping[str, str] = MappingProxyType({})


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises `ApiError` with the position of what is wrong."""
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(
            400, f"The body is a JSON {_kind(value)}; it must be an object.", code="invalid_json"
        )
    if not _is_finite(value):
        raise ApiError(400, "A number in the body is too large.", code="invalid_json")
    return value


def checked(
    model: type[M], given: Mapping[str, Any], within: str = "", names: Mapping[str, str] = _AS_GIVEN
) -> M:
    """Validate an object that stands at the path `within`. Raises `ApiError`, naming the field.

    `names` are those that the caller knows fields by, where they differ.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    path = _deepest([_path(problem, given) for problem in problems])
    reasons = dict.fromkeys(each["msg"] for each in problems if _path(each, given) == path)
    param = ".".join(filter(None, (within, *(names.get(step, step) for step in path))))
    raise ApiError(400, f"{param}: {', or: '.join(reasons)}.", code="invalid_request", param=param)


def _deepest(paths: Sequence[Sequence[str]]) -> Sequence[str]:
    """Of the first problem; where a union is concerned, in the member that the value came closest
    to being."""
    first = paths[0]
    return max((path for path in paths if path[: len(first)] == first), key=len)


def _path(problem: ErrorDetails, given: Any) -> Sequence[str]:
    """Where the problem is, without the names that pydantic gives to the members of a union."""
    path: list[str] = []
    *_, last = problem["loc"]
    missing = last if problem["type"] == "missing" else None
    for step in problem["loc"]:
        if isinstance(given, dict) and (step in given or step is missing):
            given = given.get(step)
        elif isinstance(given, list) and isinstance(step, int):
            given = given[step]
        else:
            continue
        path.append(str(step))
    return path


def _kind(value: Any) -> str:
    match value:
        case list():
            return "array"
        case str():
            return "string"
        case None:
            return "null"
        case bool():
            return "boolean"
        case _:
            return "number"


def _is_finite(value: Any) -> bool:
    """False where a literal like 1e999, which is valid JSON, became an infinity."""
    match value:
        case str():
            return True
        case float():
            return math.isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list():
            return all(map(_is_finite, value))
        case _:
            return True
