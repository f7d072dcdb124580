from services.inference_worker.app import create_app
from services.inference_worker.settings import Settings
from shared.service import run

run(create_app(Settings()))
