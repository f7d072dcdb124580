"""What a chat is made of: messages, their parts, tools. Only what engines agree on is looked at;
further keys, and kinds of parts that are not known here, are handed on."""

from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Discriminator, Field, Tag, with_config
from typing_extensions import TypedDict

MAX_TOOLS = 1024

Word = Annotated[str, Field(min_length=1)]

_open = with_config(ConfigDict(extra="allow"))


@_open
class TextPart(TypedDict):
    type: Literal["text"]
    text: str


@_open
class ImageUrl(TypedDict):
    url: Word


@_open
class ImagePart(TypedDict):
    type: Literal["image_url"]
    image_url: ImageUrl | Word


@_open
class Audio(TypedDict):
    data: Word
    format: Word


@_open
class AudioPart(TypedDict):
    type: Literal["input_audio"]
    input_audio: Audio


@_open
class OtherPart(TypedDict):
    type: Word


def _kind(part: Any) -> str:
    match part:
        case {"type": "text" | "image_url" | "input_audio" as kind}:
            return f"a part of {kind}"  # no key of a part, for which an error's path would take it
    return "another part"


Part = Annotated[
    Annotated[TextPart, Tag("a part of text")]
    | Annotated[ImagePart, Tag("a part of image_url")]
    | Annotated[AudioPart, Tag("a part of input_audio")]
    | Annotated[OtherPart, Tag("another part")],
    Discriminator(_kind),
]


@_open
class CalledFunction(TypedDict):
    name: Word
    arguments: str


@_open
class ToolCall(TypedDict):
    function: CalledFunction


@_open
class Message(TypedDict, total=False):
    role: Required[Word]
    content: str | list[Part] | None
    tool_calls: list[ToolCall] | None
    tool_call_id: str | None


@_open
class Function(TypedDict, total=False):
    name: Required[Word]
    description: str | None
    parameters: dict[str, Any] | None


@_open
class Tool(TypedDict):
    type: Literal["function"]
    function: Function


@_open
class NamedFunction(TypedDict):
    name: Word


@_open
class NamedTool(TypedDict):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool

Messages = Annotated[list[Message], Field(min_length=1)]
Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
