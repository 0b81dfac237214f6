"""Every version of the configuration that was put in force, by whom and why; and which rules were taken back.

A version is a hash of its content, so the same one may come into force twice: what happened stands in its own table. What was
taken back is a hash of routing.yaml: a folder that still holds that file goes on with the rules in force, and its other files
are taken up all the same.

Besides, texts are folded anew: traditional Chinese characters are compared as simplified ones, so what is searched is indexed
again (behind the effects, as ever).
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UP = (
    "ALTER TABLE shared.config_in_force ADD COLUMN taken_back text[] NOT NULL DEFAULT '{}'",
    """CREATE TABLE shared.config_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace text NOT NULL REFERENCES shared.workspace,
        version text NOT NULL REFERENCES shared.config_version,
        since timestamptz NOT NULL,
        author text,
        reason text,
        rolled_back_to text REFERENCES shared.config_version)""",
    """INSERT INTO shared.config_history (workspace, version, since)
        SELECT workspace, version, since FROM shared.config_in_force""",
    "INSERT INTO closer.unsearched SELECT id FROM closer.case",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)
