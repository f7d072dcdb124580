"""Where the audit-logger is put together."""

from services.audit_logger.database import Database
from services.audit_logger.handlers import Trail
from services.audit_logger.settings import Settings
from shared.bus.bus import Bus
from shared.events.audit import AuditAnswered, AuditQueryRequested
from shared.events.base import Event
from shared.events.inference import FINALS, InferenceAttemptFailed
from shared.service import Service, StartError

RECORDED: tuple[type[Event], ...] = (*FINALS, InferenceAttemptFailed)

CONSUMES: tuple[type[Event], ...] = (*RECORDED, AuditQueryRequested)
PUBLISHES: tuple[type[Event], ...] = (AuditAnswered,)


def create_app(settings: Settings) -> Service:
    async def must_know_its_database() -> None:
        if not settings.database_url:
            raise StartError(
                "DATABASE_URL is not set; write it like postgresql://user:password@host/database"
            )

    bus = Bus("audit-logger", settings, consumes=CONSUMES, publishes=PUBLISHES)
    database = Database(settings.database_url)
    trail = Trail(bus, database, RECORDED)
    bus.on_batches(RECORDED, trail.record)
    bus.on(AuditQueryRequested, trail.answer)
    bus.background(trail.watch)
    return Service(
        "audit-logger",
        settings,
        bus,
        checks=trail.checks,
        on_start=(must_know_its_database,),
        on_stop=(database.close,),
        core=False,
    )
