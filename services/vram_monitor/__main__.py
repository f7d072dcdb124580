from services.vram_monitor.app import create_app
from services.vram_monitor.settings import Settings
from shared.service import run

run(create_app(Settings()))
