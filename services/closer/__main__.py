"""`python -m services.closer`: the closer alone, on CLOSER_PORT (8083)."""

import sys

from services.closer.app import build
from shared.runtime import run_one

sys.exit(run_one("closer", build, 8083))
