"""How far a look at a piece of news has come, in a column of its own (`services/closer/works.py` says what each stage means)."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE closer.news ADD COLUMN stage text NOT NULL DEFAULT 'heard'"
    " CHECK (stage IN ('heard', 'shipping', 'telling', 'waiting'))",
    # It stood in the microseconds that `look_at` was before `heard_at`.
    """UPDATE closer.news SET look_at = greatest(look_at, heard_at), stage = CASE
        WHEN look_at = heard_at THEN 'heard'
        WHEN look_at = heard_at - interval '2 microseconds' THEN 'shipping'
        WHEN look_at < heard_at THEN 'telling'
        ELSE 'waiting' END""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
