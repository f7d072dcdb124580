"""One package per process."""

from shared.log import structlog_alone

structlog_alone()  # before any module of a service imports it, and rich with it
