"""Logs and metrics that every service has."""

import logging
import sys
from typing import TextIO, cast

from prometheus_client import Counter, Gauge, Histogram

from shared.log import structlog_alone

HANDLED = Counter("roundhouse_events_handled_total", "Entries handled and settled", ["stream"])
HANDLER_FAILURES = Counter("roundhouse_handler_failures_total", "Handlings that raised", ["stream"])
DEAD_LETTERS = Counter(
    "roundhouse_dead_letters_total", "Entries that nobody could handle", ["stream"]
)
STORE_UP = Gauge("roundhouse_store_up", "1 while the store answers")
STORE_MEMORY = Gauge(
    "roundhouse_store_memory_ratio", "Share of the store's memory in use; 0 where it has no bound"
)
NODES_ALIVE = Gauge("roundhouse_nodes_alive", "Nodes whose heartbeats the leading router hears")
ADMITTED = Counter("roundhouse_requests_admitted_total", "Requests let in", ["priority", "task"])
REFUSED = Counter("roundhouse_requests_refused_total", "Requests refused", ["reason"])
COMPLETED = Counter(
    "roundhouse_requests_completed_total", "Requests answered", ["priority", "model"]
)
FAILED = Counter(
    "roundhouse_requests_failed_total",
    "Requests that ended without an answer",
    ["priority", "reason"],
)
WAITING = Gauge("roundhouse_requests_waiting", "Requests that wait", ["priority"])
WAITING_LIMIT = Gauge(
    "roundhouse_requests_waiting_limit",
    "Requests that may wait before more are refused",
    ["priority"],
)
IN_FLIGHT = Gauge("roundhouse_requests_in_flight", "Attempts at nodes")
PENDING = Gauge("roundhouse_pending_entries", "Delivered but not settled", ["stream", "group"])
BEHIND_SECONDS = Gauge(
    "roundhouse_group_behind_seconds",
    "Age of the first entry that a group has not settled; 0 where there is none",
    ["stream", "group"],
)
STREAM_LENGTH = Gauge("roundhouse_stream_entries", "Entries that a stream retains", ["stream"])
NOTIFICATIONS = Counter(
    "roundhouse_notification_attempts_total",
    "Attempts, and what became of it",
    ["endpoint", "became"],
)
ROUND_TRIP_SECONDS = Histogram(
    "roundhouse_store_ping_seconds",
    "Time of one PING through the writer",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5),
)


class _Stderr:
    """Standard error, where a full disk costs log lines and not the work that they tell of."""

    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            return


def configure_logging(service: str, level: str) -> None:
    """One JSON object a line on stderr, with the service's name in each."""
    structlog = structlog_alone()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    plain = logging.StreamHandler(_Stderr())
    logging.basicConfig(level=logging.WARNING, handlers=[plain], format="%(name)s: %(message)s")
