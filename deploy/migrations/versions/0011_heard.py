"""What a file brings is not heard of a source: history says nothing about whether a tool still speaks.

A year of feedback that is imported in an hour would be a flood in that hour, would hide that its tool has been silent, and
four weeks later would be a source that has fallen silent itself. Counted anew of the feedback that there is.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COUNTED = """
SELECT workspace, left(value->>'source', 255), date_trunc('hour', received_at, 'UTC'), count(*), max(received_at)
FROM {rows} WHERE NOT coalesce((value->'routing'->>'history')::boolean, false) GROUP BY 1, 2, 3
"""
HEARD = (
    f"""CREATE OR REPLACE FUNCTION closer.tally_feedback() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO closer.heard_anew (workspace, source, hour, events, last_at) {COUNTED.format(rows="written")};
        RETURN NULL; END $$""",
    # Whoever is writing feedback is waited for, and whoever begins waits for us: nothing is counted twice or not at all.
    "TRUNCATE closer.heard_anew, closer.heard, closer.source",
    f"INSERT INTO closer.heard_anew (workspace, source, hour, events, last_at) {COUNTED.format(rows='closer.feedback')}",
)


def upgrade() -> None:
    for statement in HEARD:
        # No parameters here: `::` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
