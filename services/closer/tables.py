"""The closer's tables, as statements that are put together need them; what is fixed or many goes by asyncpg in `store`.

The history that makes them is deploy/migrations/versions/0003_closer.py, which says what each is for.
"""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="closer")
_UUID = UUID(as_uuid=False)
_TIME = DateTime(timezone=True)

case = Table(
    "case",
    metadata,
    Column("id", _UUID, primary_key=True),
    Column("workspace", Text),
    Column("case_key", Text),
    Column("customer", Text),
    Column("team", Text),
    Column("state", Text),
    Column("assignee", Text),
    Column("opened_at", _TIME),
    Column("updated_at", _TIME),
    Column("due_at", _TIME),
    Column("breached", Boolean),
    Column("queue_at", _TIME),
    Column("version", Integer),
    Column("first_feedback_id", _UUID),
    Column("traceparent", Text),
    Column("data", JSONB),
    Column("personal", LargeBinary),
)

timeline = Table(
    "timeline",
    metadata,
    Column("case_id", _UUID, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("workspace", Text),
    Column("at", _TIME),
    Column("what", Text),
    Column("state", Text),
    Column("actor", Text),
    Column("reason", Text),
    Column("data", LargeBinary),
    Column("personal", LargeBinary),
)

feedback = Table(
    "feedback",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("id", _UUID, primary_key=True),
    Column("received_at", _TIME),
    Column("customer", Text),
    Column("case_id", _UUID),
    Column("bodyhash", Text),
    Column("topic", Text),
    Column("partition", Integer),
    Column("offset", BigInteger),
    Column("routed_ms", BigInteger),
    Column("traceparent", Text),
    Column("value", JSONB),
    Column("kept_at", _TIME),
)

# The order of the columns in which rows of many are written.
FEEDBACK_COLUMNS = tuple(column.name for column in feedback.columns)
CASE_COLUMNS = tuple(column.name for column in case.columns)
TIMELINE_COLUMNS = tuple(column.name for column in timeline.columns)
NOTIFICATION_COLUMNS = (
    "case_id",
    "kind",
    "generation",
    "workspace",
    "feedback_id",
    "channel",
    "language",
    "status",
    "reason",
    "created_at",
    "due_at",
)
SETTLED_COLUMNS = ("workspace", "at", "team", "policy", "target", "clock", "met", "case_id", "generation")
