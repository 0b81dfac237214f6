"""The embedded log: topics, records, groups, and the functions that are its transactions.

Every change is one function called by one statement, so no client ever holds a lock between two round
trips: a process that is stopped (SIGSTOP) or cut off stops nobody else. `shared/log/postgres` calls them.

Lock order, everywhere: the group's row, members, positions by (topic, partition), then the partitions'
counters by (topic, partition), held to commit. Appends take counters only; a transaction of a group takes
its positions, then counters; a heartbeat takes the group and positions. So nobody waits in a circle.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "CREATE SCHEMA log",
    """CREATE TABLE log.topic (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE CHECK (name ~ '^[a-zA-Z0-9._-]{1,249}$'),
        partitions integer NOT NULL CHECK (partitions > 0),
        retention interval)""",
    # Updated by every append: room on the page for the dead versions, so that they are pruned in place.
    """CREATE TABLE log.partition (
        topic_id integer NOT NULL REFERENCES log.topic,
        partition integer NOT NULL,
        next_offset bigint NOT NULL DEFAULT 0,
        first_offset bigint NOT NULL DEFAULT 0,
        last_timestamp_ms bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (topic_id, partition)) WITH (fillfactor = 10)""",
    # No foreign key (a check for each record), no index on time (`log.offset_at` needs none).
    """CREATE TABLE log.record (
        "offset" bigint NOT NULL,
        timestamp_ms bigint NOT NULL,
        topic_id integer NOT NULL,
        partition integer NOT NULL,
        key bytea,
        headers bytea NOT NULL,
        value bytea NOT NULL,
        PRIMARY KEY (topic_id, partition, "offset"))""",
    # `version` moves when members, their topics or the partitions change; `planned` is the version last shared out.
    """CREATE TABLE log.consumer_group (
        name text PRIMARY KEY,
        version bigint NOT NULL DEFAULT 0,
        planned bigint NOT NULL DEFAULT 0) WITH (fillfactor = 10)""",
    # `alive`: the advisory lock that the member's process holds while it lives; free means dead, held means nothing.
    """CREATE TABLE log.member (
        group_name text NOT NULL REFERENCES log.consumer_group,
        id uuid NOT NULL,
        lease_until timestamptz NOT NULL,
        topics text[] NOT NULL,
        alive bigint,
        PRIMARY KEY (group_name, id)) WITH (fillfactor = 10)""",
    # `owner` may move the position; `wanted` is who shall own it once the owner has let go. No position: from the start.
    """CREATE TABLE log.position (
        group_name text NOT NULL REFERENCES log.consumer_group,
        topic_id integer NOT NULL REFERENCES log.topic,
        partition integer NOT NULL,
        position bigint,
        owner uuid,
        wanted uuid,
        generation bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (group_name, topic_id, partition)) WITH (fillfactor = 10)""",
)

# The groups are the partitions written to, ascending; record i belongs to group slots[i], in the groups' order.
# The counter is the first lock, and it is held to commit: offsets become visible in their order, so no record ever
# appears behind a position that a reader has passed. The clock is read with the counter in hand and never steps back
# within a partition, save after a step of more than a minute (a clock that was wrong must not stop retention).
APPEND = """
CREATE FUNCTION log.append(topic_ids integer[], partitions integer[], counts integer[],
                           slots integer[], keys bytea[], headers bytea[], contents bytea[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    bases bigint[] := '{}';
    stamps bigint[] := '{}';
    base bigint;
    stamp bigint;
    before bigint := 0;
BEGIN
    FOR i IN 1 .. cardinality(topic_ids) LOOP
        IF i > 1 AND (topic_ids[i], partitions[i]) <= (topic_ids[i - 1], partitions[i - 1]) THEN
            RAISE EXCEPTION 'log.append: partitions must ascend, so that two appends never wait for each other';
        END IF;
        UPDATE log.partition p
            SET next_offset = p.next_offset + counts[i],
                last_timestamp_ms = CASE
                    WHEN p.last_timestamp_ms - log.clock_ms() BETWEEN 0 AND 60000 THEN p.last_timestamp_ms
                    ELSE log.clock_ms() END
            WHERE p.topic_id = topic_ids[i] AND p.partition = partitions[i]
            RETURNING p.next_offset - counts[i], p.last_timestamp_ms INTO base, stamp;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'log.append: no partition % of topic %', partitions[i], topic_ids[i];
        END IF;
        bases := bases || (base - before - 1);
        stamps := stamps || stamp;
        before := before + counts[i];
    END LOOP;
    INSERT INTO log.record (topic_id, partition, "offset", timestamp_ms, key, headers, value)
        SELECT topic_ids[r.slot], partitions[r.slot], bases[r.slot] + r.n, stamps[r.slot], r.key, r.header, r.content
        FROM unnest(slots, keys, headers, contents) WITH ORDINALITY AS r (slot, key, header, content, n);
    PERFORM pg_notify('flywheel_log', t.name) FROM log.topic t WHERE t.id = ANY (topic_ids);
END $$
"""

CLOCK = """
CREATE FUNCTION log.clock_ms() RETURNS bigint LANGUAGE sql VOLATILE
RETURN floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
"""

# The fence: rows of `position` are checked as they are locked, after any other transaction on them has ended.
# `known` is where the caller believes the position to be (NULL: nowhere yet): a transaction whose outcome its caller
# never heard of has then either moved it, or cannot any more.
FENCE = """
CREATE FUNCTION log.move(named text, me uuid, topic_ids integer[], partitions integer[], generations bigint[],
                         check_known boolean, known bigint[], positions bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. cardinality(topic_ids) LOOP
        UPDATE log.position p SET position = positions[i]
            WHERE p.group_name = named AND p.topic_id = topic_ids[i] AND p.partition = partitions[i]
              AND p.owner = me AND p.generation = generations[i]
              AND (NOT check_known OR p.position IS NOT DISTINCT FROM known[i]);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'partition % of topic % has another owner or position', partitions[i], topic_ids[i]
                USING ERRCODE = 'FL001';
        END IF;
    END LOOP;
END $$
"""

TRANSACT = """
CREATE FUNCTION log.transact(named text, me uuid, topic_ids integer[], partitions integer[], generations bigint[],
                             known bigint[], positions bigint[],
                             to_topic_ids integer[], to_partitions integer[], counts integer[],
                             slots integer[], keys bytea[], headers bytea[], contents bytea[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM log.move(named, me, topic_ids, partitions, generations, true, known, positions);
    IF cardinality(slots) > 0 THEN
        PERFORM log.append(to_topic_ids, to_partitions, counts, slots, keys, headers, contents);
    END IF;
END $$
"""

# Renews my lease, buries the dead, takes what is free and meant for me; answers what is mine. By the database's
# clock only. Not flushed (synchronous_commit): a lease lost in a crash of the server is a lease that ran out, and
# the first position stored under a new owner flushes all that was written before it.
BEAT = """
CREATE FUNCTION log.beat(named text, me uuid, subscribed text[], lease interval, alive_lock bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    it log.consumer_group;
    had text[];
    dead uuid[];
    changed boolean := false;
    at timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO it FROM log.consumer_group WHERE name = named FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO log.consumer_group (name) VALUES (named) ON CONFLICT DO NOTHING;
        SELECT * INTO it FROM log.consumer_group WHERE name = named FOR UPDATE;
    END IF;
    at := clock_timestamp();

    SELECT topics INTO had FROM log.member WHERE group_name = named AND id = me;
    changed := had IS DISTINCT FROM subscribed;
    INSERT INTO log.member AS m (group_name, id, lease_until, topics, alive)
        VALUES (named, me, at + lease, subscribed, alive_lock)
        ON CONFLICT (group_name, id) DO UPDATE
            SET lease_until = excluded.lease_until, topics = excluded.topics, alive = excluded.alive;

    SELECT array_agg(id) INTO dead FROM log.member
        WHERE group_name = named AND id <> me AND (lease_until < at OR pg_try_advisory_xact_lock(alive));
    IF dead IS NOT NULL THEN
        PERFORM log.free(named, dead);
        changed := true;
    END IF;

    INSERT INTO log.position (group_name, topic_id, partition)
        SELECT named, p.topic_id, p.partition
        FROM log.topic t JOIN log.partition p ON p.topic_id = t.id
        WHERE t.name = ANY (subscribed) AND NOT EXISTS (
            SELECT FROM log.position q
            WHERE q.group_name = named AND q.topic_id = p.topic_id AND q.partition = p.partition);
    changed := changed OR FOUND;
    IF changed THEN
        UPDATE log.consumer_group SET version = version + 1 WHERE name = named RETURNING * INTO it;
    END IF;

    UPDATE log.position SET owner = me, generation = generation + 1
        WHERE group_name = named AND wanted = me AND owner IS NULL;
    RETURN jsonb_build_object('unplanned', it.version <> it.planned, 'owned', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'topic', t.name, 'topic_id', q.topic_id, 'partition', q.partition, 'generation', q.generation,
            'position', q.position, 'first', p.first_offset, 'keep', q.wanted IS NOT DISTINCT FROM me))
        FROM log.position q JOIN log.topic t ON t.id = q.topic_id
            JOIN log.partition p ON p.topic_id = q.topic_id AND p.partition = q.partition
        WHERE q.group_name = named AND q.owner = me), '[]'));
END $$
"""

# The caller holds the group's row.
FREE = """
CREATE FUNCTION log.free(named text, gone uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM log.position WHERE group_name = named AND owner = ANY (gone)
        ORDER BY topic_id, partition FOR UPDATE;
    UPDATE log.position SET owner = NULL WHERE group_name = named AND owner = ANY (gone);
    DELETE FROM log.member WHERE group_name = named AND id = ANY (gone);
    PERFORM pg_notify('flywheel_group', named);
END $$
"""

LEAVE = """
CREATE FUNCTION log.leave(named text, me uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE log.consumer_group SET version = version + 1 WHERE name = named;
    PERFORM log.free(named, ARRAY[me]);
END $$
"""

# Lets go of everything that is wanted elsewhere.
RELEASE = """
CREATE FUNCTION log.release(named text, me uuid, topic_ids integer[], partitions integer[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM log.consumer_group WHERE name = named FOR UPDATE;
    UPDATE log.position q SET owner = NULL
        FROM unnest(topic_ids, partitions) AS r (topic_id, partition)
        WHERE q.group_name = named AND q.owner = me AND q.wanted IS DISTINCT FROM me
          AND q.topic_id = r.topic_id AND q.partition = r.partition;
    PERFORM pg_notify('flywheel_group', named);
END $$
"""

# Sharing out is worked out by a member (`shared/log/postgres/assignment.py`) from what it saw, and taken only if
# nothing has changed since.
STATE = """
CREATE FUNCTION log.state(named text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'version', g.version,
        'members', coalesce((SELECT jsonb_object_agg(m.id, m.topics)
                             FROM log.member m WHERE m.group_name = named), '{}'),
        'holders', coalesce((SELECT jsonb_agg(jsonb_build_array(t.name, q.topic_id, q.partition,
                                                                coalesce(q.owner, q.wanted)))
                             FROM log.position q JOIN log.topic t ON t.id = q.topic_id
                             WHERE q.group_name = named), '[]'))
    FROM log.consumer_group g WHERE g.name = named
$$
"""

PLAN = """
CREATE FUNCTION log.plan(named text, seen bigint, topic_ids integer[], partitions integer[], members uuid[])
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM log.consumer_group WHERE name = named AND version = seen FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM log.position WHERE group_name = named ORDER BY topic_id, partition FOR UPDATE;
    UPDATE log.position q SET wanted = r.member
        FROM unnest(topic_ids, partitions, members) AS r (topic_id, partition, member)
        WHERE q.group_name = named AND q.topic_id = r.topic_id AND q.partition = r.partition
          AND q.wanted IS DISTINCT FROM r.member;
    UPDATE log.consumer_group SET planned = seen WHERE name = named;
    PERFORM pg_notify('flywheel_group', named);
    RETURN true;
END $$
"""

# The first offset whose time is at or after that, the end when there is none: a binary search, 30 look-ups in a
# billion records, which spares every append an index on time. It may step on an offset that holds no record (a gap):
# the next record stands for it.
OFFSET_AT = """
CREATE FUNCTION log.offset_at(in_topic integer, in_partition integer, at_ms bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    found record;
BEGIN
    SELECT first_offset, next_offset INTO low, high FROM log.partition
        WHERE topic_id = in_topic AND partition = in_partition;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT r."offset", r.timestamp_ms INTO found FROM log.record r
            WHERE r.topic_id = in_topic AND r.partition = in_partition
              AND r."offset" >= middle AND r."offset" < high
            ORDER BY r."offset" LIMIT 1;
        IF found IS NULL OR found.timestamp_ms >= at_ms THEN
            high := middle;
        ELSE
            low := found."offset" + 1;
        END IF;
    END LOOP;
    RETURN low;
END $$
"""


def upgrade() -> None:
    for statement in (*TABLES, CLOCK, APPEND, FENCE, TRANSACT, FREE, BEAT, LEAVE, RELEASE, STATE, PLAN, OFFSET_AT):
        # No parameters here: a colon in a function's body must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
