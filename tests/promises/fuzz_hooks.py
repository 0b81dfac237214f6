"""What schemathesis must be told: how NDJSON is sent."""

import schemathesis

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
