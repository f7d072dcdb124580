"""The log: imported late, and without what nobody looks at."""

import subprocess
import sys

from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from shared.log import get_logger, silenced, told

log = get_logger()


def test_a_line_has_its_event_level_and_values() -> None:
    with capture_logs() as lines:
        log.warning("store_silent", seconds=3)

    assert lines == [{"event": "store_silent", "log_level": "warning", "seconds": 3}]


def test_what_is_silenced_logs_nothing_until_it_is_over() -> None:
    with capture_logs() as lines:
        with silenced():
            log.error("hidden")
        log.info("seen")

    assert [line["event"] for line in lines] == ["seen"]


def test_an_error_is_told_in_its_own_words() -> None:
    assert told(ResponseError("WRONGTYPE it is a string")) == (
        "ResponseError: WRONGTYPE it is a string"
    )


def test_nothing_is_imported_before_the_first_line_and_rich_not_even_then() -> None:
    program = """
import sys
from shared.log import get_logger
before = "structlog" in sys.modules
get_logger().info("said")
after = "structlog" in sys.modules
import rich
sys.exit(str((before, after, "rich.console" in sys.modules)))
"""

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert "said" in ran.stdout
    assert ran.stderr == "(False, True, False)\n"
