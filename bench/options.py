"""What a run was asked to do."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int = 3
    quick: bool = False
    kafka: bool = True
    """Without it: the embedded log alone, and no peers that need a broker."""

    def progress(self, line: str) -> None:
        print(f"  {line}", file=sys.stderr, flush=True)
