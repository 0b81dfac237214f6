"""What a process has cost, as the kernel counts it. Linux tells; elsewhere the columns stay empty."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cores() -> int:
    return os.cpu_count() or 1


def cpu_seconds(pid: int) -> float | None:
    """User and system time of all its threads, in steps of a hundredth of a second."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_bytes(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return None


def family_cpu_seconds(pid: int) -> float | None:
    """The same of a server that forks: itself, its children now, and those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    except OSError:
        return None
    total = sum(map(int, fields[11:15])) / _TICKS
    return total + sum(filter(None, map(cpu_seconds, children)))


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()
