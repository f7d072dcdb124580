"""What engines say when something goes wrong, and what that means for the attempt."""

import json

import pytest

from services.inference_worker.backends.failures import LONGEST_MESSAGE, failure
from shared.events.inference import FailureReason as Reason

LLAMA_CPP = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "request (6022 tokens) exceeds the available context size (1024 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 6022,
            "n_ctx": 1024,
        }
    }
)

CONTEXT_EXCEEDED = {
    "llama.cpp": (400, LLAMA_CPP, 6022),
    "llama.cpp, embedding": (
        500,
        '{"error":{"code":500,"message":"input (5002 tokens) is too large to process. increase'
        ' the physical batch size (current batch size: 1024)","type":"server_error"}}',
        5002,
    ),
    "Ollama, which wraps llama.cpp": (400, json.dumps({"error": LLAMA_CPP}), 6022),
    "Ollama, embedding": (400, '{"error":"the input length exceeds the context length"}', None),
    "vLLM": (
        400,
        '{"error":{"message":"This model\'s maximum context length is 4096 tokens. However, you'
        ' requested 5120 tokens (5000 in the messages, 120 in the completion).","code":400}}',
        5120,
    ),
    "vLLM, newer": (
        400,
        '{"error":{"message":"\'max_tokens\' or \'max_completion_tokens\' is too large: 5000. This'
        " model's maximum context length is 4096 tokens and your request has 12 input tokens"
        ' (5000 > 4096 - 12).","code":400}}',
        5012,
    ),
    "LM Studio": (
        400,
        '{"error":"Trying to keep the first 6000 tokens when context the overflows. However, the'
        ' model is loaded with context length of only 4096 tokens"}',
        None,
    ),
    "OpenAI": (
        400,
        '{"error":{"code":"context_length_exceeded","message":"This model\'s maximum context length'
        ' is 8192 tokens. However, your messages resulted in 9001 tokens."}}',
        9001,
    ),
}


@pytest.mark.parametrize(
    ("status", "text", "needed"), CONTEXT_EXCEEDED.values(), ids=CONTEXT_EXCEEDED
)
def test_a_prompt_too_long_is_told_apart_whoever_says_it(
    status: int, text: str, needed: int | None
) -> None:
    error = failure(text, status)

    assert error.reason is Reason.CONTEXT_EXCEEDED
    assert error.tokens_needed == needed


OUT_OF_MEMORY = {
    "Ollama": '{"error":"llama-server has terminated: cudaMalloc failed: out of memory"}',
    "Ollama, RAM": '{"error":"model requires more system memory (9.1 GiB) than is available"}',
    "vLLM": '{"error":{"message":"CUDA out of memory. Tried to allocate 2.00 GiB","code":500}}',
    "llama.cpp": '{"error":{"code":500,"message":"failed to allocate compute buffers"}}',
}


@pytest.mark.parametrize("text", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_a_lack_of_memory_is_told_apart_from_a_crash(text: str) -> None:
    assert failure(text, 500).reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Reason.BAD_INPUT),
        (307, Reason.REFUSED),
        (401, Reason.REFUSED),
        (402, Reason.REFUSED),
        (403, Reason.REFUSED),
        (404, Reason.REFUSED),
        (405, Reason.REFUSED),
        (408, Reason.TIMED_OUT),
        (409, Reason.REFUSED),
        (413, Reason.BAD_INPUT),
        (422, Reason.BAD_INPUT),
        (429, Reason.REFUSED),
        (500, Reason.REFUSED),
        (501, Reason.BAD_INPUT),
        (502, Reason.CRASHED),
        (503, Reason.REFUSED),
    ],
)
def test_any_other_error_means_what_its_status_says(status: int, reason: Reason) -> None:
    assert failure('{"error":"no"}', status).reason is reason


def test_a_refused_key_says_where_to_put_one() -> None:
    assert "api_key_env" in str(failure('{"error":"unauthorized"}', 401))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"error":{"code":500,"message":"died"}}', Reason.CRASHED),
        ('{"error":{"code":400,"message":"no"}}', Reason.BAD_INPUT),
        ('{"error":"server busy","status":503}', Reason.REFUSED),
        ('{"error":"model runner has unexpectedly stopped"}', Reason.CRASHED),
    ],
)
def test_an_error_inside_a_stream_means_the_code_that_it_states(line: str, reason: Reason) -> None:
    assert failure(line).reason is reason


def test_what_an_engine_repeats_of_the_request_is_neither_shown_nor_taken_for_the_error() -> None:
    details = [{"loc": ["body", "n"], "msg": "not an integer", "input": "GPU out of memory, help"}]

    error = failure(json.dumps({"detail": details}), 422)

    assert error.reason is Reason.BAD_INPUT
    assert "not an integer" in str(error)
    assert "help" not in str(error)


@pytest.mark.parametrize("text", ["", "<html>Bad gateway</html>", "[1, 2]", "{}", "null", "12"])
def test_an_error_without_details_is_still_an_error(text: str) -> None:
    assert failure(text, 502).reason is Reason.CRASHED
    assert "502" in str(failure(text, 502))


def test_a_long_message_is_cut() -> None:
    assert len(str(failure("x" * 10_000, 500))) < LONGEST_MESSAGE + 100


BAD_INPUT = {
    "llama.cpp, image": (
        "image input is not supported - hint: if this is unexpected, you may need to provide the"
        " mmproj"
    ),
    "llama.cpp, audio": "audio input is not supported - hint: ...",
    "llama.cpp, role": (
        "Failed to parse messages: [json.exception.type_error.302] type must be string,"
        " but is number"
    ),
    "llama.cpp, tools": 'Failed to parse tools: Missing tool type: "x"; tools = [\n  "x"\n]',
    "Ollama, template": (
        'template: :108:130: executing "" at <index $prop.Type 0>: error calling index: reflect:'
        " slice index out of range"
    ),
    "Ollama, image": "failed to process inputs: this model is missing data required for image"
    " input",
    "Ollama, broken image": "Failed to create new sequence: failed to process inputs: image:"
    " unknown format",
}


@pytest.mark.parametrize("said", BAD_INPUT.values(), ids=BAD_INPUT)
def test_an_input_that_an_engine_fails_on_is_the_callers_whatever_the_status(said: str) -> None:
    for error in (said, {"code": 500, "message": said, "type": "server_error"}):
        assert failure(json.dumps({"error": error}), 500).reason is Reason.BAD_INPUT


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'Failed to parse messages: Missing \'role\' in message: {"content":"out of memory"}',
            "Failed to parse messages: Missing 'role' in message",
        ),
        (
            "Failed to parse tools: Expected 'tools' to be an array, got \"GGML out of memory\"",
            "Failed to parse tools: Expected 'tools' to be an array",
        ),
        (
            'Failed to parse tools: key \'name\' not found; tools = [{"x": "out of memory"}]',
            "Failed to parse tools: key 'name' not found",
        ),
    ],
)
def test_what_llama_cpp_repeats_of_messages_and_tools_is_not_taken_for_the_error(
    said: str, shown: str
) -> None:
    error = failure(json.dumps({"error": {"code": 500, "message": said}}), 500)

    assert error.reason is Reason.BAD_INPUT
    assert str(error) == f"the engine answered 500: {shown}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"error":"a reason that nobody has seen before"}', Reason.REFUSED),
        ('{"error":"llama runner process has terminated: exit status 2"}', Reason.CRASHED),
        ('{"error":"error loading model: tensor not found"}', Reason.CRASHED),
        ('{"error":{"message":"EngineCore encountered an issue","code":500}}', Reason.CRASHED),
        ('{"error":{"message":"Compute error.","code":500}}', Reason.CRASHED),
        ("Internal Server Error", Reason.CRASHED),
        ("{}", Reason.CRASHED),
    ],
)
def test_an_engine_that_is_there_to_say_that_it_failed_has_not_crashed_unless_it_says_so(
    text: str, reason: Reason
) -> None:
    assert failure(text, 500).reason is reason
