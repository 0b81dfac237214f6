"""`python -m services.ingest`"""

import sys

from services.ingest.app import build
from shared.runtime import run_one

sys.exit(run_one("ingest", build, 8081))
