"""`python -m services.router`: the router alone, on ROUTER_PORT (8082)."""

import sys

from services.router.app import build
from shared.runtime import run_one

sys.exit(run_one("router", build, 8082))
