"""The least that can be called routing: 200 keywords over the raw bytes, the answer added to them. Pure.

The bytes are seen as Latin-1, one character each, so nothing is decoded but copied.
"""

import ahocorasick

from bench.events import keywords, team_of

DEFAULT_TEAM = "support"


def automaton() -> ahocorasick.Automaton:
    found = ahocorasick.Automaton()
    for rule, word in enumerate(keywords()):
        found.add_word(word.encode().decode("latin-1"), rule)
    found.make_automaton()
    return found


def endings() -> dict[int | None, tuple[str, bytes]]:
    """Rule (None: no rule) → the team, and what takes the place of the value's closing brace."""
    rules: list[int | None] = [None, *range(len(keywords()))]
    made = {}
    for rule in rules:
        team = DEFAULT_TEAM if rule is None else team_of(rule)
        name = "null" if rule is None else f'"rule-{rule:03d}"'
        made[rule] = (team, f',"routing":{{"role":"owner","team":"{team}","rule":{name}}}}}'.encode())
    return made
