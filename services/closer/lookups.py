"""What a batch asks the database before it decides: one question of each kind, for all of it."""

from collections.abc import Iterable, Sequence

from services.closer.transactions import Driver


async def who_unsubscribed(driver: Driver, customers: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    wanted = list(customers)
    if not wanted:
        return frozenset()
    rows = await driver.fetch(
        "SELECT workspace, customer FROM closer.unsubscribed"
        " WHERE (workspace, customer) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [workspace for workspace, _ in wanted],
        [customer for _, customer in wanted],
    )
    return frozenset((row["workspace"], row["customer"]) for row in rows)


async def known_feedback(
    driver: Driver, ids: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str, str | None]]:
    """(workspace, id) → (body hash, customer) of those that had their effect."""
    rows = await driver.fetch(
        "SELECT workspace, id, bodyhash, customer FROM closer.feedback"
        " WHERE (workspace, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
        [workspace for workspace, _ in ids],
        [identity for _, identity in ids],
    )
    return {(row["workspace"], str(row["id"])): (row["bodyhash"], row["customer"]) for row in rows}


async def last_finished(driver: Driver, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(workspace, case key) → the newest finished case."""
    rows = await driver.fetch(
        "SELECT DISTINCT ON (workspace, case_key) workspace, case_key, id FROM closer.case"
        " WHERE NOT unfinished AND (case_key, workspace) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
        " ORDER BY workspace, case_key, id DESC",
        [key for _, key in keys],
        [workspace for workspace, _ in keys],
    )
    return {(row["workspace"], row["case_key"]): str(row["id"]) for row in rows}


async def answers(driver: Driver, ids: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of these (workspace, feedback id), those that were really said on the customer's page."""
    rows = await driver.fetch(
        "SELECT workspace, feedback_id FROM closer.answer"
        " WHERE (workspace, feedback_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
        [workspace for workspace, _ in ids],
        [identity for _, identity in ids],
    )
    return {(row["workspace"], str(row["feedback_id"])) for row in rows}
