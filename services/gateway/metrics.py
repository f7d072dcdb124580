"""What the gateway counts."""

from prometheus_client import Counter, Gauge, Histogram

ANSWERS = Counter(
    "roundhouse_gateway_answers_total",
    "Answers to inference calls, by HTTP status; 499 where the client left first",
    ["operation", "status"],
)
ANSWER_SECONDS = Histogram(
    "roundhouse_gateway_answer_seconds",
    "From the head of an inference call to the end of its answer",
    ["operation"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
WAITING = Gauge("roundhouse_gateway_waiting_calls", "Inference calls that are being answered")
