"""Sharing out: even, faithful to who subscribes, and disturbing nobody without need."""

from hypothesis import given
from hypothesis import strategies as st

from shared.log.postgres.assignment import Partition, assign

TOPICS = ["a", "b", "c"]

members_st = st.dictionaries(
    st.sampled_from(["m1", "m2", "m3", "m4", "m5"]), st.lists(st.sampled_from(TOPICS), unique=True), max_size=5
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[Partition, str | None]]:
    partitions = [(topic, n) for topic in TOPICS for n in range(draw(st.integers(0, 7)))]
    before = st.sampled_from(["m1", "m2", "m3", "m4", "m5", "gone", None])
    return draw(members_st), {partition: draw(before) for partition in partitions}


@given(situations())
def test_every_partition_goes_to_a_subscriber_and_each_topic_is_even(
    situation: tuple[dict[str, list[str]], dict[Partition, str | None]],
) -> None:
    members, holders = situation
    plan = assign(members, holders)
    assert plan.keys() == holders.keys()
    for topic in TOPICS:
        interested = [m for m in members if topic in members[m]]
        shares = [sum(plan[p] == m for p in plan if p[0] == topic) for m in interested]
        if interested:
            assert max(shares) - min(shares) <= 1
            assert sum(shares) == sum(p[0] == topic for p in plan)
        else:
            assert all(plan[p] is None for p in plan if p[0] == topic)


@given(situations())
def test_a_plan_that_holds_is_kept(situation: tuple[dict[str, list[str]], dict[Partition, str | None]]) -> None:
    members, holders = situation
    plan = assign(members, holders)
    assert assign(members, plan) == plan


@given(st.integers(1, 5), st.integers(1, 12))
def test_a_member_that_joins_takes_only_its_share_and_one_that_leaves_moves_only_its_own(count: int, size: int) -> None:
    members = {f"m{n}": ["a"] for n in range(count)}
    holders: dict[Partition, str | None] = {("a", n): None for n in range(size)}
    before = assign(members, holders)
    joined = assign({**members, "new": ["a"]}, before)
    moved = [p for p in before if before[p] != joined[p]]
    assert all(joined[p] == "new" for p in moved)
    assert len(moved) == size // (count + 1)
    left = assign(members, joined)
    assert all(joined[p] == "new" for p in joined if left[p] != joined[p])


def test_several_topics_are_even_over_all_of_them() -> None:
    holders: dict[Partition, str | None] = {(topic, n): None for topic in TOPICS for n in range(3)}
    plan = assign({"m1": TOPICS, "m2": TOPICS}, holders)
    assert {sum(m == member for m in plan.values()) for member in ("m1", "m2")} == {4, 5}
