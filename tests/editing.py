"""An operator's edit of a configuration file."""

from pathlib import Path


def edit(folder: Path, file: str, before: str, after: str, times: int = 1) -> None:
    """Replaces what stands there so many times; anything else means that the file is not what the test takes it for."""
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(before) == times, f"{before!r} stands {text.count(before)} times in {file}"
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")
