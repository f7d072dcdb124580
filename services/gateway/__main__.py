from services.gateway.app import create_app
from services.gateway.settings import settings_or_exit
from shared.service import run

run(create_app(settings_or_exit()))
