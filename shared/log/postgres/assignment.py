"""Who of a group reads which partition.

● Pure: members and what they hold in, who shall hold what out. Each topic is shared evenly among the members
that subscribe to it, and all of it evenly among all; beyond that everybody keeps what they have, so that those
whom a change does not concern are not disturbed.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

Partition = tuple[str, int]


def assign(
    members: Mapping[str, Collection[str]], holders: Mapping[Partition, str | None]
) -> dict[Partition, str | None]:
    """`members`: each one's topics. `holders`: every partition and who has it now. Nobody gets what nobody subscribes to."""
    interested = {topic: [m for m in sorted(members) if topic in members[m]] for topic, _ in holders}

    plan: dict[Partition, str | None] = {}
    held: dict[tuple[str, str], list[Partition]] = defaultdict(list)
    total = dict.fromkeys(members, 0)

    def give(partition: Partition, member: str) -> None:
        plan[partition] = member
        held[partition[0], member].append(partition)
        total[member] += 1

    for partition in sorted(holders):
        plan[partition] = None
        holder = holders[partition]
        if holder is not None and holder in interested[partition[0]]:
            give(partition, holder)
    for partition in sorted(p for p, member in plan.items() if member is None):
        topic = partition[0]
        if interested[topic]:
            give(partition, min(interested[topic], key=lambda m: (len(held[topic, m]), total[m], m)))

    # Each move makes the sum of squares smaller, within a topic or, that being equal, over all: so it ends.
    moved = True
    while moved:
        moved = False
        for topic, candidates in interested.items():
            if not candidates:
                continue
            most = max(candidates, key=lambda m: (len(held[topic, m]), total[m], m))
            least = min(candidates, key=lambda m: (len(held[topic, m]), total[m], m))
            uneven = len(held[topic, most]) - len(held[topic, least])
            if uneven > 1 or (uneven == 1 and total[most] - total[least] > 1):
                total[most] -= 1
                give(held[topic, most].pop(), least)
                moved = True
    return plan
