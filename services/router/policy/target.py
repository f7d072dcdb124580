"""What a request asks for: a model by its name, or a task, whose chain then names the models."""

from dataclasses import dataclass

from services.router.policy.refusal import Refused
from services.router.policy.request import RequestAttributes
from services.router.policy.view import Fleet
from shared.config.models import AUTO, HEURISTIC_PREFIX, TASK_PREFIX, Config
from shared.events.base import Operation, Priority
from shared.events.inference import FailureReason

TASKS_BY_OPERATION = {Operation.COMPLETION: "complete", Operation.EMBEDDING: "embed"}
"""The task of a request that names none, where that is not the configured default."""


@dataclass(frozen=True, slots=True)
class Target:
    task: str
    operation: Operation
    priority: Priority
    chain: tuple[str, ...]
    """Entries as configured, or the one model that was asked for."""
    concrete: bool
    """Whether the caller named the model: then no other may answer."""


def find_target(request: RequestAttributes, config: Config, fleet: Fleet) -> Target | Refused:
    task = _task(request, config)
    if isinstance(task, Refused):
        return task
    settings = config.tasks.get(task)
    if settings is None:
        return Refused(
            FailureReason.UNKNOWN_TASK,
            f"there is no task {task!r}; choose one of {', '.join(sorted(config.tasks))}",
        )
    model = _concrete(request.model)
    if model is not None and not is_known(model, config, fleet):
        return Refused(
            FailureReason.UNKNOWN_MODEL,
            f"no model {model!r} is configured or offered by any node; "
            f"choose one that is listed, or {AUTO!r}",
        )
    return Target(
        task=task,
        operation=request.operation or settings.operation,
        priority=request.priority or settings.priority,
        chain=settings.chain if model is None else (model,),
        concrete=model is not None,
    )


def is_known(model: str, config: Config, fleet: Fleet) -> bool:
    """Whether such a model exists, be it offered now or not."""
    if model.startswith(HEURISTIC_PREFIX):
        return model.removeprefix(HEURISTIC_PREFIX) in config.heuristics
    return model in config.models or model in fleet.known


def _concrete(model: str | None) -> str | None:
    if model is None or model == AUTO or model.startswith(TASK_PREFIX):
        return None
    return model


def _task(request: RequestAttributes, config: Config) -> str | Refused:
    named = request.model if request.model and request.model.startswith(TASK_PREFIX) else None
    if named is None:
        default = TASKS_BY_OPERATION.get(request.operation or Operation.CHAT, config.default_task)
        return request.task or default
    task = named.removeprefix(TASK_PREFIX)
    if request.task not in (None, task):
        return Refused(
            FailureReason.INVALID,
            f"the model names the task {task!r} and the request {request.task!r}; give only one",
        )
    return task
