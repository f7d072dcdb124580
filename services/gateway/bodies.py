"""Bodies of requests, as far as the gateway looks at them.

Unknown fields are allowed everywhere but in `roundhouse`: they are handed on to the engine.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from services.gateway.hints import Hints
from services.gateway.messages import Messages, ToolChoice, Tools
from shared.events.inference import MOST_TOKENS

MAX_INPUTS = 2048
"""Texts that one embedding request may carry."""

MAX_TEMPERATURE = 100
"""Far above OpenAI's 2, which engines exceed with samplers that OpenAI does not have."""

MAX_STOPS = 16

Count = Annotated[int, Field(gt=0)]
Tokens = Annotated[int, Field(gt=0, le=MOST_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    model: Annotated[
        str | None,
        Field(description='A model\'s name; "auto" or "task/<name>" lets the router choose.'),
    ] = "auto"
    roundhouse: Hints | None = None
    user: str | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class Limit(BaseModel):
    """Of an answer's length, wherever it is given."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    max_tokens: Tokens | None = None


class Generation(Limit, Body):
    """What chat and completion have in common."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    n: Annotated[int | None, Field(description="Only 1")] = None

    @field_validator("n", "best_of", check_fields=False)
    @classmethod
    def _is_one(cls, count: int | None) -> int | None:
        if count not in (None, 1):
            raise PydanticCustomError(
                "one_answer", "only 1 is possible: send the request once for each answer"
            )
        return count


class ChatBody(Generation):
    """Body of `POST /v1/chat/completions`."""

    messages: Messages
    max_completion_tokens: Tokens | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None


class CompletionBody(Generation):
    """Body of `POST /v1/completions`."""

    prompt: Annotated[str, Field(description="A text, or a list that holds one text")]
    best_of: Annotated[int | None, Field(description="Only 1")] = None

    @field_validator("prompt", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _is_one_text(cls, prompt: Any) -> Any:
        if not isinstance(prompt, list):
            return prompt
        if len(prompt) == 1 and isinstance(prompt[0], str):
            return prompt[0]
        if prompt and all(isinstance(each, str) for each in prompt):
            raise PydanticCustomError(
                "one_prompt", "only one prompt at a time: send one request for each"
            )
        raise PydanticCustomError("text_only", "must be text: lists of token ids are not supported")


class EmbeddingBody(Body):
    """Body of `POST /v1/embeddings`."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] | None = None
