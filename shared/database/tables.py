"""The tables that no single service owns, in schema `shared`. Each service has its own schema beside it;
the history of all of them is `deploy/migrations`."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="shared")

workspace = Table(
    "workspace",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

# Keys are kept as SHA-256 only: 256 random bits need no slow hash.
api_key = Table(
    "api_key",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("workspace", Text, ForeignKey(workspace.c.name), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
)

# Every configuration that was ever in force, by content hash: `${ENV}` not expanded, so no secret stands here.
config_version = Table(
    "config_version",
    metadata,
    Column("version", Text, primary_key=True),
    Column("files", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
config_in_force = Table(
    "config_in_force",
    metadata,
    Column("workspace", Text, ForeignKey(workspace.c.name), primary_key=True),
    Column("version", Text, ForeignKey(config_version.c.version), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    # Hashes of routing.yaml that were taken back: a folder that still holds one of them is not taken up with it.
    Column("taken_back", ARRAY(Text), nullable=False, server_default="{}"),
)
# Each time that a version was put in force: by whom and why, as far as that is said.
config_history = Table(
    "config_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("workspace", Text, ForeignKey(workspace.c.name), nullable=False),
    Column("version", Text, ForeignKey(config_version.c.version), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("author", Text),
    Column("reason", Text),
    Column("rolled_back_to", Text),
)

# What a service decided to say on the log, written with its effect; the relay publishes and deletes.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    PrimaryKeyConstraint("id"),
)
