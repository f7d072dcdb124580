"""All services in one process: `python -m services`, for small machines.

The audit-logger is among them where DATABASE_URL says where its Postgres is.
"""

from services.audit_logger.app import create_app as audit_logger
from services.audit_logger.settings import Settings as AuditLoggerSettings
from services.gateway.app import create_app as gateway
from services.gateway.settings import settings_or_exit
from services.inference_worker.app import create_app as inference_worker
from services.inference_worker.settings import Settings as WorkerSettings
from services.model_manager.app import create_app as model_manager
from services.model_manager.settings import Settings as ModelManagerSettings
from services.notifier.app import create_app as notifier
from services.notifier.settings import Settings as NotifierSettings
from services.router.app import create_app as router
from services.router.settings import Settings as RouterSettings
from services.vram_monitor.app import create_app as vram_monitor
from services.vram_monitor.settings import Settings as VramMonitorSettings
from shared.service import run

audit = AuditLoggerSettings()

run(
    *([audit_logger(audit)] if audit.database_url else []),
    router(RouterSettings()),
    model_manager(ModelManagerSettings()),
    inference_worker(WorkerSettings()),
    vram_monitor(VramMonitorSettings()),
    notifier(NotifierSettings()),
    gateway(settings_or_exit()),
)
