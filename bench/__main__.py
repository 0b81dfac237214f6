"""`python -m bench [--only http,batch,router,closer,latency,takeover,spool,webhooks,slow,workers,pages,flat] [--rounds 3] [--quick] [--json FILE]`"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from bench import closer, door, flat, http, latency, pages, router, spool, takeover
from bench.machine import cores
from bench.options import Options
from bench.stage import Stage
from bench.table import Part, plain, render

PARTS: dict[str, Callable[[Stage, Options], Part]] = {
    "http": http.single,
    "batch": http.batched,
    "router": router.measure,
    "closer": closer.measure,
    "latency": latency.measure,
    "takeover": takeover.measure,
    "spool": spool.measure,
    "webhooks": door.webhooks,
    "slow": door.slow,
    "workers": door.workers,
    "pages": pages.measure,
    "flat": flat.measure,
}
BEGIN, END = "<!-- last run -->", "<!-- end of last run -->"
LIBRARIES = ("uvicorn", "fastapi", "aiokafka", "confluent-kafka", "asyncpg")


def measure(names: Sequence[str], options: Options) -> list[Part]:
    with Stage() as stage:
        return [PARTS[name](stage, options) for name in names]


def facts(options: Options) -> dict[str, object]:
    """Asked before the run: a load that is not near 0 is somebody else's."""
    return {
        "cores": cores(),
        "load before the run": round(os.getloadavg()[0], 1),
        "rounds": options.rounds,
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    } | ({"quick": "yes: these figures mean nothing"} if options.quick else {})


def _between(text: str, table: str) -> str:
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    if not found:
        raise SystemExit(f"there is no {BEGIN} in that file")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast the loop turns, beside its peers.")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a few seconds a part, one round: shows that it runs")
    parser.add_argument("--without-kafka", action="store_true", help="the embedded log alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every value of every round")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between the marks {BEGIN} and {END}")
    given = parser.parse_args(arguments)
    names = [name for name in given.only.split(",") if name]
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        parser.error(f"there is no part {', '.join(unknown) or '(none named)'}: {', '.join(PARTS)}")
    options = Options(rounds=1 if given.quick else given.rounds, quick=given.quick, kafka=not given.without_kafka)
    known = facts(options)
    parts = measure(names, options)
    shown = render(parts, known)
    print(shown)
    if given.write is not None:
        given.write.write_text(_between(given.write.read_text(encoding="utf-8"), shown), encoding="utf-8")
    if given.json is not None:
        given.json.write_text(json.dumps(plain(parts, known), ensure_ascii=False, indent=1), encoding="utf-8")
    return 0 if all(count.exact for part in parts for count in part.counts) else 1


if __name__ == "__main__":
    sys.exit(main())
