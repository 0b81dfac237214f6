"""What no single service owns: workspaces, keys, configuration versions, the outbox."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (
        "CREATE SCHEMA shared",
        """CREATE TABLE shared.workspace (
            name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
            created_at timestamptz NOT NULL DEFAULT clock_timestamp())""",
        "INSERT INTO shared.workspace (name) VALUES ('default')",
        """CREATE TABLE shared.api_key (
            id uuid PRIMARY KEY,
            workspace text NOT NULL REFERENCES shared.workspace,
            name text NOT NULL,
            digest bytea NOT NULL UNIQUE,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            revoked_at timestamptz)""",
        """CREATE TABLE shared.config_version (
            version text PRIMARY KEY,
            files jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp())""",
        """CREATE TABLE shared.config_in_force (
            workspace text PRIMARY KEY REFERENCES shared.workspace,
            version text NOT NULL REFERENCES shared.config_version,
            since timestamptz NOT NULL DEFAULT clock_timestamp())""",
        """CREATE TABLE shared.outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic text NOT NULL,
            key bytea,
            value bytea NOT NULL,
            headers bytea NOT NULL)""",
    ):
        op.execute(statement)
