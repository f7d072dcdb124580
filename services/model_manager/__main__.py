from services.model_manager.app import create_app
from services.model_manager.settings import Settings
from shared.service import run

run(create_app(Settings()))
