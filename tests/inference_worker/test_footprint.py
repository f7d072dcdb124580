"""Estimates of memory, against what engines print and what others have published."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.inference_worker.backends.footprint import (
    COMPUTE_MIB,
    MIB,
    kv_bytes,
    load_deadline_s,
    need_mib,
    only_embeds,
    trained_context_tokens,
)


def model(layers: int, kv_heads: int | list[int], head: int, **more: Any) -> dict[str, Any]:
    fields = {
        "block_count": layers,
        "attention.head_count": 32,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "context_length": 131_072,
        **more,
    }
    return {"general.architecture": "x", **{f"x.{name}": value for name, value in fields.items()}}


PUBLISHED = {
    "Llama 3.1 70B, 2 Ki": (model(80, 8, 128), 2048, 640),
    "Llama 3.1 70B, 128 Ki": (model(80, 8, 128), 131_072, 40_960),
    "Llama 3.1 8B, 8 Ki": (model(32, 8, 128), 8192, 1024),
    "Qwen2.5 7B, 128 Ki": (model(28, 4, 128), 131_072, 7168),
    "Qwen2.5 72B, 32 Ki": (model(80, 8, 128), 32_768, 10_240),
    "Qwen2-VL 2B, 32 Ki": (model(28, 2, 128), 32_768, 896),
    "Qwen3 30B-A3B, 4 Ki": (model(48, 4, 128), 4096, 384),
}


@pytest.mark.parametrize(("metadata", "context", "mib"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_cache_of_known_models_has_its_published_size(
    metadata: dict[str, Any], context: int, mib: int
) -> None:
    assert kv_bytes(metadata, context, slots=1) == mib * MIB


def test_the_width_of_a_head_is_the_embedding_over_the_heads_unless_it_is_given() -> None:
    stated = model(2, 2, 16)
    derived = {key: value for key, value in stated.items() if "_length" not in key}
    derived["x.embedding_length"] = 512

    assert kv_bytes(derived, 1024, 1) == kv_bytes(stated, 1024, 1)


def test_layers_may_have_different_heads() -> None:
    assert kv_bytes(model(3, [4, 0, 4], 64), 1024, 1) == kv_bytes(model(2, 4, 64), 1024, 1)


def test_sliding_layers_keep_a_window_and_a_batch() -> None:
    sliding = model(
        2,
        4,
        64,
        **{"attention.sliding_window": 1024, "attention.sliding_window_pattern": [True, False]},
    )

    full, window = 8192, 1024 + 512
    assert kv_bytes(sliding, full, 1) == (full + window) * 4 * 128 * 2


def test_a_window_without_a_pattern_counts_as_full_attention() -> None:
    hinted = model(2, 4, 64, **{"attention.sliding_window": 1024})
    assert kv_bytes(hinted, 8192, 1) == kv_bytes(model(2, 4, 64), 8192, 1)


def test_latent_attention_keeps_one_vector_and_no_values() -> None:
    latent = model(27, 1, 576, **{"attention.key_length_mla": 192})
    assert kv_bytes(latent, 4096, 1) == 27 * 4096 * 576 * 2


@given(context=some.integers(1, 200_000), slots=some.integers(1, 16), layers=some.integers(1, 90))
def test_more_context_or_slots_never_need_less(context: int, slots: int, layers: int) -> None:
    metadata = model(layers, 8, 128)
    size = kv_bytes(metadata, context, slots)

    assert kv_bytes(metadata, context + 1, slots) >= size
    assert kv_bytes(metadata, context, slots + 1) > size
    assert size >= layers * context * slots * 8 * 256 * 2


def test_weights_cache_and_buffers_are_reserved_together() -> None:
    assert need_mib(5 * MIB, model(32, 8, 128), 8192, slots=2) == 5 + 2048 + COMPUTE_MIB


@pytest.mark.parametrize("metadata", [{}, {"general.architecture": "mamba"}])
def test_metadata_without_attention_need_no_cache(metadata: dict[str, Any]) -> None:
    assert need_mib(MIB, metadata, 8192, slots=2) == 1 + COMPUTE_MIB
    assert trained_context_tokens(metadata) is None
    assert not only_embeds(metadata)


def test_a_model_with_a_pooling_type_only_embeds() -> None:
    assert only_embeds(model(12, 12, 64, pooling_type=1))


def test_a_load_may_take_longer_the_larger_the_model_is() -> None:
    assert load_deadline_s(0) == 300
    assert load_deadline_s(40 << 30) == 1100
