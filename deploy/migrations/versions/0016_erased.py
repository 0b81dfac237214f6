"""Who was erased: pseudonyms, by which what comes of a person afterwards is told to be theirs.

`closer.erased` holds nothing of anybody: `key` is the keyed hash under which the log has a customer (`Pseudonyms.key`), and
without FLYWHEEL_SECRET nobody can tell whose it is. `kind`: `customer` for an id (or an address that stands for one),
`address` for an address whose every customer was erased. `at`: what was said up to then does not come back.

`router.erased` is the same as the router heard of it on `feedback.erasures`: a correction that comes late teaches nothing.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE closer.erased (
        workspace text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('customer', 'address')),
        key text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (workspace, kind, key))""",
    """CREATE TABLE router.erased (
        workspace text NOT NULL,
        customer bytea NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (workspace, customer))""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
