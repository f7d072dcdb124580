"""A GGUF model of 300 KB made from a seed, for machines that have no model weights at hand.

Its weights are random and its text is noise, made of words that say so. It exists to drive a
real engine through the whole path: loading, slots, streaming, context limits, embeddings.

    python -m services.inference_worker.tiny_model PATH
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np

SEED = 20_260
ARCHITECTURE = "llama"
LAYERS = 2
WIDTH = 64
HEADS = 4
KV_HEADS = 2
FEED_FORWARD = 128
CONTEXT_TOKENS = 16_384

WORDS = [
    "noise",
    "static",
    "hum",
    "hiss",
    "murmur",
    "random",
    "meaningless",
    "nothing",
    "gibberish",
    "babble",
    "rustle",
    "crackle",
    "the",
    "of",
    "and",
    "or",
    "with",
    "without",
    "only",
    "just",
    "more",
    "some",
    "this",
    "that",
    "here",
    "there",
    "always",
    "still",
]
STOPS = (".", ",", "\n")

PIECE_LOGIT = 4.0
"""What lifts words over single letters and bytes, so that the noise is readable."""

END_LOGIT = 3.8
"""Chosen so that an answer without a limit ends by itself after some tens of tokens."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

Token = tuple[str, float, gguf.TokenType]
"""Text, merge score and kind, as llama.cpp's SentencePiece tokenizer wants them."""


def generate(path: Path) -> None:
    """Write the model to `path`, all of it or nothing. The same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".tiny-") as folder:
        draft = Path(folder) / "tiny.gguf"
        _write(draft)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)


def _write(path: Path) -> None:
    vocabulary = _vocabulary()
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _describe(writer)
    _add_tokenizer(writer, vocabulary)
    _add_weights(writer, vocabulary)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_description("random weights from a seed: its text is noise")
    writer.add_license("CC0-1.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)


def _vocabulary() -> list[Token]:
    kinds = gguf.TokenType
    tokens: dict[str, Token] = {}

    def add(text: str, score: float, kind: gguf.TokenType) -> None:
        tokens.setdefault(text, (text, score, kind))

    add("<unk>", 0.0, kinds.UNKNOWN)
    add("<s>", 0.0, kinds.CONTROL)
    add("</s>", 0.0, kinds.CONTROL)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 0.0, kinds.BYTE)
    for letter in "\u2581" + "".join(map(chr, range(33, 127))):
        add(letter, -1e4, kinds.NORMAL)
    for word in WORDS:
        for end in range(1, len(word) + 1):  # the tokenizer reaches a word only by its prefixes
            add("\u2581" + word[:end], -float(len(tokens)), kinds.NORMAL)
    return list(tokens.values())


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: list[Token]) -> None:
    texts, scores, kinds = zip(*vocabulary, strict=True)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text in texts])
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, vocabulary: list[Token]) -> None:
    random = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int, scale: float) -> np.ndarray:
        # A NumPy float64 scalar would make it float64, which crashes llama.cpp.
        return random.standard_normal((rows, columns)).astype(np.float32) * np.float32(scale)

    def add(name: str, weights: np.ndarray) -> None:
        writer.add_tensor(name, weights.astype(np.float16))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    # The first dimension is a constant that no layer writes to, so that the output matrix can
    # prefer words and shun bytes whatever the hidden state is.
    embedding = matrix(len(vocabulary), WIDTH, 1.0)
    embedding[:, 0] = 8.0
    add("token_embd.weight", embedding)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        key_width = WIDTH // HEADS * KV_HEADS
        add_norm(prefix + "attn_norm.weight")
        add_norm(prefix + "ffn_norm.weight")
        add(prefix + "attn_q.weight", matrix(WIDTH, WIDTH, WIDTH**-0.5))
        add(prefix + "attn_k.weight", matrix(key_width, WIDTH, WIDTH**-0.5))
        add(prefix + "attn_v.weight", matrix(key_width, WIDTH, WIDTH**-0.5))
        add(prefix + "ffn_gate.weight", matrix(FEED_FORWARD, WIDTH, WIDTH**-0.5))
        add(prefix + "ffn_up.weight", matrix(FEED_FORWARD, WIDTH, WIDTH**-0.5))
        for name, columns in (("attn_output.weight", WIDTH), ("ffn_down.weight", FEED_FORWARD)):
            weights = matrix(WIDTH, columns, columns**-0.5)
            weights[0] = 0.0
            add(prefix + name, weights)
    add_norm("output_norm.weight")
    output = matrix(len(vocabulary), WIDTH, 0.1)
    output[:, 0] = [_preference(token) for token in vocabulary]
    add("output.weight", output)


def _preference(token: Token) -> float:
    text = token[0]
    if text.removeprefix("\u2581") in WORDS or text in STOPS:
        return PIECE_LOGIT
    return END_LOGIT if text == "</s>" else -PIECE_LOGIT


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tiny generated GGUF model.")
    parser.add_argument("path", type=Path)
    generate(parser.parse_args().path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
