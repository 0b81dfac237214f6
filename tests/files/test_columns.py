"""Which column is which: by what people call them, and by what stands in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Misuse
from shared.events.feedback import METRIC_RANGES
from shared.files.cells import as_number, as_text, column_letters, is_number
from shared.files.columns import guess, mapping_of
from shared.files.exported import FEEDBACK

GUESSED: list[tuple[str, dict[str, list[Any]], dict[str, str | None]]] = [
    (
        "English",
        {"ID": ["1", "2"], "Comment": ["fine", "bad"], "NPS": ["9", "3"], "E-mail": ["a@b.cn", "c@d.cn"], "Created At": ["2025-03-04", "2025-03-05"], "Branch": ["x", "y"]},
        {"ID": "external_id", "Comment": "text", "NPS": "score.nps", "E-mail": "customer.email", "Created At": "occurred_at", "Branch": "attributes.Branch"},
    ),
    (
        "Chinese",
        {"编号": ["1", "2"], "评价内容": ["好", "差"], "满意度": ["5", "1"], "用户昵称": ["小王", "小李"], "提交时间": ["2025/3/4 10:11", "2025/3/5 8:00"], "门店": ["一", "二"]},
        {"编号": "external_id", "评价内容": "text", "满意度": "score.csat", "用户昵称": "customer.name", "提交时间": "occurred_at", "门店": "attributes.门店"},
    ),
    (
        "Japanese",
        {"管理番号": ["1", "2"], "ご意見": ["良い", "悪い"], "推奨度": ["9", "2"], "メールアドレス": ["a@b.jp", "c@d.jp"], "回答日時": ["2025/03/04", "2025/03/05"]},
        {"管理番号": "external_id", "ご意見": "text", "推奨度": "score.nps", "メールアドレス": "customer.email", "回答日時": "occurred_at"},
    ),
    (
        "German",
        {"Vorgangsnummer": ["1", "2"], "Kommentar": ["gut", "schlecht"], "Zufriedenheit": ["5", "2"], "Kundennummer": ["7", "7"], "Datum": ["4.3.2025", "5.3.2025"]},
        {"Vorgangsnummer": "external_id", "Kommentar": "text", "Zufriedenheit": "score.csat", "Kundennummer": "customer.id", "Datum": "occurred_at"},
    ),
    (
        "Spanish",
        {"Identificador": ["1", "2"], "Reseña": ["bien", "mal"], "Calificación": ["5", "2"], "Correo electrónico": ["a@b.es", "c@d.es"], "Fecha": ["2025-03-04", "2025-03-05"]},
        {"Identificador": "external_id", "Reseña": "text", "Calificación": "score.stars", "Correo electrónico": "customer.email", "Fecha": "occurred_at"},
    ),
    (
        "a survey's questions",
        {"Q1. How likely are you to recommend us to a friend (0–10)?": ["9", "10"], "Q2. What could we do better?": ["be faster", "nothing"], "您有多满意？": ["4", "5"]},
        {"Q1. How likely are you to recommend us to a friend (0–10)?": "score.nps", "Q2. What could we do better?": "text", "您有多满意？": "score.csat"},
    ),
    (
        "names that say nothing",
        {"A": ["ann@example.com", "bob@example.com"], "B": ["The app crashes all the time", "I would like a dark mode, please"], "C": ["2025-03-04", "2025-03-05"], "D": ["https://x.cn/1", "https://x.cn/2"], "E": ["north", "north"]},
        {"A": "customer.email", "B": "text", "C": "occurred_at", "D": "url", "E": "attributes.E"},
    ),
    (
        "a name that its values belie",
        {"text": ["a", "b"], "Rating": ["80", "95"], "ID": ["7", "7"], "Date": ["soon", "later"], "Channel": ["WeChat", "shop"]},
        {"text": "text", "Rating": "attributes.Rating", "ID": "attributes.ID", "Date": "attributes.Date", "Channel": "attributes.Channel"},
    ),
    (
        "two that could be the text",
        {"Feedback": ["ok", "ok"], "Comment": ["It crashes whenever I open it", "I cannot find the way to pay"]},
        {"Feedback": "attributes.Feedback", "Comment": "text"},
    ),
    (
        "numbers that are dates only by their name",
        {"Order": ["45123", "45124"], "text": ["a", "b"], "Date": [45720, 45721.5]},
        {"Order": "attributes.Order", "text": "text", "Date": "occurred_at"},
    ),
    (
        "members' own names",
        {"customer.tier": ["gold", ""], "score.ces": ["7", ""], "attributes.form": ["ideas", ""], "text": ["a", "b"]},
        {"customer.tier": "customer.tier", "score.ces": "score.ces", "attributes.form": "attributes.form", "text": "text"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "members"), [row[1:] for row in GUESSED], ids=[row[0] for row in GUESSED])
def test_columns_are_guessed(columns: dict[str, list[Any]], members: dict[str, str | None]) -> None:
    rows = list(zip(*columns.values(), strict=True))
    found = guess(list(columns), rows, [], METRIC_RANGES)
    assert {column.name: column.member for column in found.columns} == members
    assert all(column.why and len(column.samples) <= 3 for column in found.columns)


def test_what_was_not_guessed_is_said_and_how_to_mend_it() -> None:
    notes = guess(["Rating", "ID"], [["80", "7"], ["95", "7"]], [], METRIC_RANGES).notes
    assert "“Rating” is called like score.stars, but its values go from 80 to 95" in notes[0]
    assert "--map score.METRIC=…" in notes[0]
    assert "“ID” is called like external_id, but its values repeat" in notes[1]
    for wanted in ("text=COLUMN", "external_id=COLUMN", "occurred_at=COLUMN"):
        assert any(f'--map "{wanted}"' in note for note in notes)


NAMES = ["ID", "How likely, from 0 to 10, are you?", "How was it, really?", "Comment", "e mail"]
MAPPED: list[tuple[list[str], list[tuple[str, str]]]] = [
    (["text=Comment,external_id=ID"], [("text", "Comment"), ("external_id", "ID")]),
    (["text=Comment", "external_id = id"], [("text", "Comment"), ("external_id", "ID")]),
    (["score.nps=How likely, from 0 to 10, are you?,text=Comment"], [("score.nps", NAMES[1]), ("text", "Comment")]),
    (["score.nps=How likely…,text=How was..."], [("score.nps", NAMES[1]), ("text", NAMES[2])]),
    (['"score.nps=How likely, from 0 to 10, are you?",text=comment'], [("score.nps", NAMES[1]), ("text", "Comment")]),
    (["customer.email=E  MAIL,ignore=ID,attributes.why=Comment"], [("customer.email", "e mail"), ("ignore", "ID"), ("attributes.why", "Comment")]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "pairs"), MAPPED, ids=[row[0][0] for row in MAPPED])
def test_a_person_says_which_is_which(given: list[str], pairs: list[tuple[str, str]]) -> None:
    assert mapping_of(given, NAMES, METRIC_RANGES) == pairs


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("text", "--map takes MEMBER=COLUMN"),
        ("text=Nothing", "there is no column 'Nothing'; the columns are 'ID'"),
        ("text=How…", "there is no column"),
        ("words=Comment", "there is no 'words'; it is one of text, title"),
        ("score.mood=ID", "'mood' is not a known metric"),
    ],
)
def test_what_cannot_be_mapped_is_said(given: str, says: str) -> None:
    with pytest.raises(Misuse) as refused:
        mapping_of([given], NAMES, METRIC_RANGES)
    assert says in str(refused.value)


def test_what_a_person_says_wins_and_the_rest_is_guessed_around_it() -> None:
    given = mapping_of(["text=Title,ignore=Phone"], ["Title", "Comment", "Phone"], METRIC_RANGES)
    found = guess(["Title", "Comment", "Phone"], [["a", "b", "1"]], given, METRIC_RANGES)
    assert [column.member for column in found.columns] == ["text", "attributes.Comment", None]


def test_an_export_of_ours_is_known_by_its_columns() -> None:
    names = [column.name for column in FEEDBACK]
    found = guess(names, [], [], METRIC_RANGES)
    assert {c.name: c.member for c in found.columns} == {column.name: column.member for column in FEEDBACK}


NUMBERS: list[tuple[Any, str, float | None]] = [
    ("9", "nps", 9), (9, "nps", 9), (9.5, "nps", 9.5), (" 9 ", "nps", 9), ("９", "nps", 9), ("4,5", "stars", 4.5),
    ("4/5", "stars", 4), ("4 out of 5", "stars", 4), ("8/10", "stars", None), ("8/10", "nps", 8), ("9 - Very likely", "nps", 9),
    ("9: gern", "nps", 9), ("5 stars", "stars", 5), ("5星", "stars", 5), ("10分", "nps", 10), ("★★★★☆", "stars", 4),
    ("⭐⭐⭐", "stars", 3), ("1 Stern", "stars", 1), ("good", "csat", None), ("", "nps", None), ("10 years ago", "nps", None),
    ("yes", "hmd", 1), ("否", "hmd", 0), ("maybe", "hmd", None), ("-1", "nps", -1), (True, "hmd", 1.0), (None, "nps", None),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "metric", "number"), NUMBERS, ids=[f"{r[0]} {r[1]}" for r in NUMBERS])
def test_scores_as_people_write_them(cell: Any, metric: str, number: float | None) -> None:
    assert as_number(cell, metric) == number


def test_cells_as_text_and_letters() -> None:
    assert [as_text(cell) for cell in (1001.0, 1001, 0.5, True, None, "x")] == ["1001", "1001", "0.5", "TRUE", "", "x"]
    assert [column_letters(index) for index in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
    assert is_number("1,5")
    assert not is_number("1. How likely?")


cells = st.one_of(st.none(), st.text(max_size=12), st.integers(), st.floats(allow_nan=False), st.booleans())


@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=6, unique=True),
    st.lists(st.lists(cells, max_size=6), max_size=6),
)
def test_guessing_never_raises_and_uses_each_single_member_once(names: list[str], rows: list[list[Any]]) -> None:
    found = guess(names, rows, [], METRIC_RANGES)
    members = [column.member for column in found.columns if column.member]
    assert [column.name for column in found.columns] == names
    assert len(members) == len(set(members))
