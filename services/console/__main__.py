"""`python -m services.console`: the console alone, on CONSOLE_PORT (8080)."""

import sys

from services.console.app import build_alone
from shared.runtime import run_one

sys.exit(run_one("console", build_alone, 8080))
