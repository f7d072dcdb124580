from services.audit_logger.app import create_app
from services.audit_logger.settings import Settings
from shared.service import run

run(create_app(Settings()))
