from services.router.app import create_app
from services.router.settings import Settings
from shared.service import run

run(create_app(Settings()))
