"""How much memory a model needs, and how long it may take to load. Pure.

The keys are those of GGUF, which Ollama's /api/show answers too. The formula equals what
llama.cpp prints for grouped-query, sliding-window and latent attention.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

MIB = 1 << 20
COMPUTE_MIB = 64
"""For compute buffers and the process; replaced by the measured size after the first load."""

CONTEXT_STEP = 256
"""llama.cpp rounds the context of each sequence up to a multiple of this."""

MICRO_BATCH = 512
"""llama.cpp's n_ubatch: a sliding window's cache holds the window and one such batch."""

BYTES_PER_ELEMENT = 2
"""f16, the default type of both caches."""


def load_deadline_s(weights_bytes: int) -> float:
    """5 minutes, and 20 s for each GiB of weights: a slow disk, and an engine that is not dead."""
    return 300.0 + 20.0 * weights_bytes / (1 << 30)


def trained_context_tokens(metadata: Mapping[str, Any]) -> int | None:
    """The longest context that the model was trained for, where the metadata tell."""
    context_tokens = _field(metadata, "context_length")
    return int(context_tokens) if context_tokens else None


def only_embeds(metadata: Mapping[str, Any]) -> bool:
    """Whether it is an encoder: it can embed text, and not write any."""
    return _field(metadata, "pooling_type") is not None


def need_mib(
    weights_bytes: int, metadata: Mapping[str, Any], context_tokens: int, slots: int
) -> int:
    """Memory to reserve before a load, in MiB: weights, KV cache of all slots, and the rest."""
    return ceil((weights_bytes + kv_bytes(metadata, context_tokens, slots)) / MIB) + COMPUTE_MIB


def kv_bytes(metadata: Mapping[str, Any], context_tokens: int, slots: int) -> int:
    """Size of the f16 KV cache, for `context_tokens` in each slot. Errs upwards: a sliding window
    that the metadata only hint at counts as full attention."""
    layers = int(_field(metadata, "block_count") or 0)
    full = _rounded(context_tokens)
    window = int(_field(metadata, "attention.sliding_window") or 0)
    sliding = _per_layer(_field(metadata, "attention.sliding_window_pattern"), layers, False)
    heads = _per_layer(_field(metadata, "attention.head_count_kv"), layers, _heads(metadata))
    width = _key_width(metadata) + _value_width(metadata)
    cells = 0
    for kv_heads, slides in zip(heads, sliding, strict=True):
        bounded = slides is True and window > 0
        length = min(full, _rounded(window + MICRO_BATCH)) if bounded else full
        cells += length * int(kv_heads)
    return cells * width * slots * BYTES_PER_ELEMENT


def _rounded(tokens: int) -> int:
    return ceil(tokens / CONTEXT_STEP) * CONTEXT_STEP


def _per_layer(value: Any, layers: int, default: Any) -> list[Any]:
    """A value that may be given once, or once for each layer."""
    if isinstance(value, list):
        return (value + [default] * layers)[:layers]
    return [default if value is None else value] * layers


def _key_width(metadata: Mapping[str, Any]) -> int:
    return int(_field(metadata, "attention.key_length") or _head_width(metadata))


def _value_width(metadata: Mapping[str, Any]) -> int:
    if _field(metadata, "attention.key_length_mla"):
        return 0  # latent attention keeps one compressed vector, and no values
    return int(_field(metadata, "attention.value_length") or _head_width(metadata))


def _head_width(metadata: Mapping[str, Any]) -> int:
    return int(_field(metadata, "embedding_length") or 0) // _heads(metadata)


def _heads(metadata: Mapping[str, Any]) -> int:
    heads = _field(metadata, "attention.head_count")
    return int(max(heads) if isinstance(heads, list) else heads or 1) or 1


def _field(metadata: Mapping[str, Any], name: str) -> Any:
    return metadata.get(f"{metadata.get('general.architecture')}.{name}")
