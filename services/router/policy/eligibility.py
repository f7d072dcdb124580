"""Which models may serve a request: a chain's entries, expanded and held against hard rules."""

from collections.abc import Iterable, Iterator

from services.router.policy.refusal import Refused
from services.router.policy.target import Target, is_known
from services.router.policy.view import Fleet, Offer
from shared.config.models import ANY, Config, ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason

LEAST_BYTES_PER_TOKEN = 3
"""Dense text such as code: the estimate errs towards too many tokens."""

MOST_BYTES_PER_TOKEN = 8
"""Twice what English prose has: an input has at least so many tokens. Only this one refuses."""


def eligible(
    target: Target, input_bytes: int, config: Config, fleet: Fleet
) -> tuple[str, ...] | Refused:
    """Candidates in the order of the chain, at least one of them offered by a live node.

    A configured model that no live node offers stays, for its node may return; but not where
    only fallbacks could stand in for it: these would be kept waiting for nothing.
    """
    found = dict(_profiles(target.chain, config, fleet))
    capable = {name: offer for name, offer in found.items() if target.operation in offer.operations}
    if target.concrete and found and not capable:
        return _incapable(target)
    least_tokens = _least_tokens(target.operation, input_bytes)
    fitting = [model for model, offer in capable.items() if offer.holds(least_tokens)]
    if capable and not fitting:
        return _too_long(input_bytes, max(offer.context_tokens for offer in capable.values()))
    offered = [model for model in fitting if model in fleet.offers]
    if not offered:
        return _nobody(target, config, fleet)
    if all(fleet.offers[model].fallback for model in offered):
        return tuple(offered)
    return tuple(model for model in fitting if model in fleet.offers or model in config.models)


def _profiles(chain: tuple[str, ...], config: Config, fleet: Fleet) -> Iterator[tuple[str, Offer]]:
    """What the chain names, as live nodes say or as configured; the rest is of no use now."""
    for entry in chain:
        for model in _real_models(fleet) if entry == ANY else [entry]:
            if model in fleet.offers and is_known(model, config, fleet):
                yield model, fleet.offers[model]
            elif model in config.models:
                yield model, _configured(config.models[model])


def _real_models(fleet: Fleet) -> list[str]:
    """Those that need no load first; of them the largest, which is likely to be the best."""
    real = [model for model, offer in fleet.offers.items() if not offer.fallback]
    return sorted(
        real,
        key=lambda model: (model not in fleet.resident, -fleet.offers[model].need_mib, model),
    )


def _configured(settings: ModelConfig) -> Offer:
    return Offer(
        operations=frozenset(settings.operations),
        context_tokens=settings.context_tokens,
        need_mib=settings.need_mib or 0,
        noise=False,
        degraded=False,
        places=frozenset(),
    )


def _least_tokens(operation: Operation, input_bytes: int) -> int:
    """That one context has to hold. A batch of embeddings is many inputs, of unknown lengths."""
    return 0 if operation is Operation.EMBEDDING else input_bytes // MOST_BYTES_PER_TOKEN


def _incapable(target: Target) -> Refused:
    return Refused(
        FailureReason.INVALID,
        f"{target.chain[0]} cannot do {target.operation}; choose a model that can, "
        "or the operation that it is for",
    )


def _too_long(input_bytes: int, largest_tokens: int) -> Refused:
    least = input_bytes // MOST_BYTES_PER_TOKEN
    most = input_bytes // LEAST_BYTES_PER_TOKEN
    return Refused(
        FailureReason.CONTEXT_EXCEEDED,
        f"the input has between {least} and {most} tokens, and the largest context here is "
        f"{largest_tokens}: at least {least - largest_tokens} too many; shorten it",
    )


def _nobody(target: Target, config: Config, fleet: Fleet) -> Refused:
    barred = [model for model in fleet.barred if model in target.chain or ANY in target.chain]
    if barred:
        return hopeless(barred, fleet, config)
    what = f"a model that does {target.operation} for task {target.task!r}"
    return Refused(
        FailureReason.NO_ELIGIBLE_NODE,
        f"no live node offers {target.chain[0] if target.concrete else what}; "
        "try again once such a node is up",
        retry_after_s=config.timing.node_lost_s,
    )


def hopeless(barred: Iterable[str], fleet: Fleet, config: Config) -> Refused:
    """The end of a request for which there is no other model than these."""
    found = {model: fleet.barred[model] for model in barred if model in fleet.barred}
    said = [f"{model} cannot be had ({each.why})" for model, each in found.items()]
    pauses_s = [each.retry_after_s for each in found.values() if each.retry_after_s]
    return Refused(
        FailureReason.NO_ELIGIBLE_NODE,
        "; ".join(said),
        retry_after_s=min(pauses_s, default=config.timing.node_lost_s),
    )
