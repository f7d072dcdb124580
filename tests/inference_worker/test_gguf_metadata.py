"""Metadata are read from the front of a file, which may be broken in any way."""

import struct
from pathlib import Path
from time import perf_counter

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from services.inference_worker.backends.gguf_metadata import NotGgufError, read_metadata


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("größer")
    writer.add_context_length(4096)
    writer.add_layer_norm_rms_eps(0.5)
    writer.add_add_bos_token(True)
    writer.add_head_count_kv([4, 0, 4])
    writer.add_token_list([f"token {number}" for number in range(150_000)])
    writer.add_token_scores([float(number) for number in range(150_000)])
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_all_values_are_read_but_long_lists(file: Path) -> None:
    metadata = read_metadata(file)

    assert metadata["general.architecture"] == "llama"
    assert metadata["general.name"] == "größer"
    assert metadata["llama.context_length"] == 4096
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == 0.5
    assert metadata["llama.attention.head_count_kv"] == [4, 0, 4]
    assert metadata["tokenizer.ggml.tokens"] is None
    assert metadata["tokenizer.ggml.scores"] is None
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    assert metadata["tokenizer.ggml.eos_token_id"] == 2


def test_a_large_vocabulary_does_not_take_long(file: Path) -> None:
    began_s = perf_counter()

    read_metadata(file)

    assert perf_counter() - began_s < 3, "the gguf library takes 8 s"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(keep=some.integers(0, 3_000))
def test_a_file_that_ends_too_early_is_refused(file: Path, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.gguf"
    with file.open("rb") as whole:
        cut.write_bytes(whole.read(keep))

    with pytest.raises(NotGgufError):
        read_metadata(cut)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=some.binary(max_size=400), keys=some.integers(1, 2**64 - 1))
def test_whatever_follows_the_magic_number_nothing_else_is_raised(
    tmp_path: Path, tail: bytes, keys: int
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, keys) + tail)

    try:
        metadata = read_metadata(broken)
    except NotGgufError:
        return
    assert len(metadata) <= keys


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "ends in the middle"),
        (b"PK\x03\x04 something else", "does not begin"),
        (b"GGUF" + struct.pack("<I", 1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**40), "claims a length"),
    ],
)
def test_a_refusal_says_what_is_wrong(tmp_path: Path, content: bytes, problem: str) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content)

    with pytest.raises(NotGgufError, match=problem):
        read_metadata(broken)
