"""`python -m services.ingest`"""

import os
import sys

from services.ingest.app import build
from shared.runtime import run_one

# Whoever has a spool takes feedback before the log is there, too.
sys.exit(run_one("ingest", build, 8081, log_may_be_away=bool(os.environ.get("INGEST_SPOOL_DIR"))))
