from services.notifier.app import create_app
from services.notifier.settings import Settings
from shared.service import run

run(create_app(Settings()))
