"""`ask`."""

import asyncio
import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.input import STANDARD_INPUT, argument_text, problems, read_text
from shared.events.base import Operation, Priority
from shared.events.inference import InferenceRequested


def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from the input.")],
    task: Annotated[str | None, typer.Option(help="A task of the configuration.")] = None,
    priority: Annotated[
        Priority | None, typer.Option(case_sensitive=False, help="Instead of the task's.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="This model, and no other.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer while it comes.")] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of the answer.")] = None,
    deadline_s: Annotated[
        float | None, typer.Option(min=0.1, help="Give up after so many seconds.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask a question over the bus and print the answer. Ctrl-C cancels it.

    The answer goes to the output, everything else to the error output. Exit code 1 without one.

    Example: ./roundhouse ask "Why is the sky blue?" --priority high
    """
    request = _request(
        read_text(STANDARD_INPUT) if question == "-" else argument_text(question),
        task=task,
        priority=priority,
        model=model,
        max_tokens=max_tokens,
        deadline_ms=int(deadline_s * 1000) if deadline_s else None,
    )
    from cli.conversation import Conversation  # and redis-py, which --help can do without

    conversation = Conversation(streams=stream and not as_json, hints=not as_json)
    final = asyncio.run(conversation.hold(data, request))
    if as_json:
        typer.echo(json.dumps({"outcome": final.outcome, **final.data}))
    else:
        conversation.conclude(final)
    raise typer.Exit(0 if final.outcome == "completed" else 1)


def _request(text: str, **wishes: Any) -> InferenceRequested:
    if not text.strip():
        raise UserError("The question is empty.", 'Write it in quotes: ./roundhouse ask "Why?"')
    asked = {"messages": [{"role": "user", "content": text}]}
    try:
        return InferenceRequested(input=asked, operation=Operation.CHAT, **wishes)
    except ValidationError as error:
        raise UserError(
            f"This cannot be asked: {problems(error)}.", "See ./roundhouse ask --help"
        ) from error
