"""What all parts of the configuration are made of."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(min_length=1)]

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _is_a_variable_name(name: str) -> str:
    if not ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(
            "is not the name of an environment variable; the secret itself never goes in here"
        )
    return name


VariableName = Annotated[str, AfterValidator(_is_a_variable_name)]


def http_address(url: str) -> SplitResult | None:
    """The parts of a whole address over HTTP; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    is_whole = parts.scheme in ("http", "https") and parts.hostname and port != 0
    return parts if is_whole else None


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
