"""The generated model: the same everywhere, and plainly noise."""

import threading
from pathlib import Path

from services.inference_worker.backends.footprint import need_mib, trained_context_tokens
from services.inference_worker.backends.gguf_metadata import read_metadata
from services.inference_worker.backends.model_files import TINY_MODEL
from services.inference_worker.tiny_model import generate


def test_it_is_the_same_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.gguf", "two.gguf")]
    for path in paths:
        generate(path)

    first, second = (path.read_bytes() for path in paths)

    assert first == second
    assert len(first) < 400_000


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Two workers that generate it at once never see half a file, nor leave anything behind."""
    path = tmp_path / "models" / "tiny.gguf"
    writers = [threading.Thread(target=generate, args=(path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    seen: set[int] = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.stat().st_size)
    for writer in writers:
        writer.join()

    assert seen <= {path.stat().st_size}
    assert [each.name for each in path.parent.iterdir()] == ["tiny.gguf"]


def test_what_the_worker_says_of_it_without_reading_it_is_true(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    generate(path)
    metadata = read_metadata(path)

    assert trained_context_tokens(metadata) == TINY_MODEL.context_tokens
    estimated_mib = need_mib(
        path.stat().st_size, metadata, TINY_MODEL.context_tokens, TINY_MODEL.slots
    )
    assert estimated_mib <= TINY_MODEL.need_mib
    assert TINY_MODEL.noise
