"""Encodings, delimiters and headers, recognised from real bytes; short samples above all, where guessing goes wrong."""

import codecs
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.errors import Misuse
from shared.files.sniff import (
    UNREADABLE,
    decoded,
    delimiter_named,
    dialect_of,
    encoding_named,
    encoding_of,
    header_of,
    parsed,
)


def sniffed(raw: bytes) -> str:
    try:
        raw.decode("utf-8")
        is_utf8 = True
    except UnicodeDecodeError:
        is_utf8 = False
    return encoding_of(raw, b"", is_utf8).codec


SHORT: list[tuple[str, str]] = [
    ("gb18030", "评论\n很好\n"),
    ("gb18030", "id,text\n1,好\n"),
    ("gb18030", "id,comment\n1,great\n2,fine\n3,物流太慢\n"),
    ("gb18030", "编号,评论内容\n1,更新之后闪退，重装三次还是这样。\n"),
    ("gb18030", "id,内容\n1,退貨運費誰出？客服一直沒有回覆，這個問題已經反映三次了\n"),
    ("gb18030", "姓名\n王\n李\n"),
    ("gb18030", "a,b\n1,“不错”——推荐给朋友…\n"),
    ("cp932", "評価\n良い\n"),
    ("cp932", "id,text\n1,あ\n"),
    ("cp932", "id,comment\n1,great\n2,アプリが落ちる\n"),
    ("cp932", "番号,ご意見\n1,ダークモードを追加してほしいです。\n"),
    ("cp932", "都市\n東京都\n大阪府\n"),
    ("cp932", "氏名\n田中\n鈴木\n"),
    ("cp1252", "Kommentar;Note\nsehr schön;5\n"),
    ("cp1252", "id;text\n1;Größe\n"),
    ("cp1252", "id,texto\n1,¿Cómo puedo cambiar la contraseña?\n"),
    ("cp1252", "id,text\n1,Café\n2,plain\n"),
    ("cp1252", "id,text\n1,“quoted” – and it’s 5 €\n"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "text"), SHORT, ids=[f"{c} {t.split()[-1][:12]}" for c, t in SHORT])
def test_a_short_sample_is_told(codec: str, text: str) -> None:
    raw = text.encode(codec)
    assert sniffed(raw) == codec
    assert decoded(raw, codec) == text


@pytest.mark.parametrize("text", [text for _, text in SHORT])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_told_with_and_without_its_mark(codec: str, text: str) -> None:
    found = sniffed(text.encode(codec))
    assert found == codec
    assert decoded(text.encode(codec), found) == text


def test_a_mark_of_gb18030() -> None:
    raw = "\ufeff编号\n1\n".encode("gb18030")
    assert sniffed(raw) == "gb18030"
    assert decoded(raw, "gb18030") == "编号\n1\n"


COMMON_HAN = "的一是不了在有人我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"  # fmt: skip
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんがぎぐげござじずぜぞだでどばびぶべぼぱぴぷぺぽっゃゅょアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワンー"  # fmt: skip
KANJI = "日本人大学生年時間前後何今行来見食飲書読話聞買高安新古多少長短良悪早遅電車駅店会社員仕事問題答質品送料返金注文商届便利使画面設定更新追加機能"  # fmt: skip

chinese = st.text(st.sampled_from(COMMON_HAN + "，。！？"), min_size=2, max_size=30)
japanese = st.tuples(st.text(st.sampled_from(KANA), min_size=2, max_size=20), st.text(st.sampled_from(KANJI), max_size=10)).map("".join)  # fmt: skip


def table(cells: Sequence[str]) -> str:
    return "id,text\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))


@example(["一一", "你好"], "gb18030")
@given(st.lists(chinese, min_size=1, max_size=20), st.sampled_from(["gb18030", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))  # fmt: skip
def test_everyday_chinese_is_recognised_in_each_encoding(cells: list[str], codec: str) -> None:
    raw = table(cells).encode(codec)
    assume(
        codec != "gb18030" or UNREADABLE in decoded(raw, "utf-8")
    )  # 一一, and no more, is two letters of Bashkir as well
    assert decoded(raw, sniffed(raw)) == table(cells)


@given(st.lists(japanese, min_size=1, max_size=20), st.sampled_from(["cp932", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))  # fmt: skip
def test_everyday_japanese_is_recognised_in_each_encoding(cells: list[str], codec: str) -> None:
    raw = table(cells).encode(codec)
    assert decoded(raw, sniffed(raw)) == table(cells)


@given(st.binary(max_size=2_000))
def test_nothing_but_what_is_no_text_is_refused_whatever_the_bytes(raw: bytes) -> None:
    try:
        codec = sniffed(raw)
    except Misuse:  # no text
        return
    text = decoded(raw, codec)
    dialect = dialect_of(text)
    header_of(parsed(text, dialect.delimiter))


@pytest.mark.parametrize(
    ("files", "letters", "codec"),
    [
        (("sentiment.jsonl", "departments_zh.jsonl", "replies_zh.jsonl"), "[\u4e00-\u9fff]", "gb18030"),
        (("routing.jsonl", "kind.jsonl"), "[\u3040-\u30ff]", "cp932"),
        (("routing.jsonl", "priority_tickets.jsonl"), "[äöüßñáéíóú¿¡]", "cp1252"),
    ],
)
def test_a_real_sentence_alone_is_told(corpus: Path, files: tuple[str, ...], letters: str, codec: str) -> None:
    count = told = 0
    for name in files:
        for line in (corpus / "text" / name).read_text(encoding="utf-8").split("\n")[::5]:
            said = str(json.loads(line).get("text", "")) if line else ""
            raw = f"id,text\n1,{said}\n".encode(codec, "ignore")
            if re.search(letters, said) and raw.decode(codec) == f"id,text\n1,{said}\n":
                count += 1
                told += sniffed(raw) == codec
    assert count > 100
    assert told >= 0.99 * count


def test_what_only_a_later_line_tells_is_told_by_that_line() -> None:
    head = b"id,text\n" + b"1,plain\n" * 100
    assert encoding_of(head, "9,很好用".encode("gb18030"), is_utf8=False).codec == "gb18030"
    assert encoding_of(head, "9,良いです".encode("cp932"), is_utf8=False).codec == "cp932"


def test_utf_8_with_one_bad_byte_is_utf_8_and_the_byte_is_marked() -> None:
    raw = "id,text\n1,很好用，谢谢\n2,还可以，继续努力\n".encode() + b"3,\xff\n"
    assert sniffed(raw) == "utf-8"
    assert decoded(raw, "utf-8").count(UNREADABLE) == 1


@pytest.mark.parametrize("codec", ["gb18030", "cp932", "utf-16-le", "euc-kr", "cp950"])
def test_a_bad_byte_costs_no_other_row(codec: str) -> None:
    good = "1,ok\n".encode(codec)
    bad = {"utf-16-le": b"\x00\xdc\n\x00", "cp932": b"2,\x81 \n"}.get(codec, b"2,\xff\xff\n")
    text = decoded(good + bad + good, codec)
    assert text.startswith("1,ok\n")
    assert text.endswith("1,ok\n")
    assert UNREADABLE in text


def test_an_image_is_no_text() -> None:
    with pytest.raises(Misuse, match="no text"):
        sniffed(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)


@pytest.mark.parametrize(
    ("given", "codec"),
    [("GBK", "gb18030"), ("gb2312", "gb18030"), ("Shift-JIS", "cp932"), ("sjis", "cp932"), ("UTF-8", "utf-8"), ("latin1", "cp1252"), ("big5", "cp950"), ("utf-16", "utf-16"), ("EUC-KR", "euc-kr")],
)  # fmt: skip
def test_an_encoding_can_be_forced_by_any_of_its_names(given: str, codec: str) -> None:
    assert codecs.lookup(encoding_named(given).codec) == codecs.lookup(codec)


@pytest.mark.parametrize("given", ["klingon", "", "base64", "rot13", "idna", "unicode_escape"])
def test_what_is_no_encoding_is_refused(given: str) -> None:
    with pytest.raises(Misuse, match="--encoding"):
        encoding_named(given)


DELIMITED: list[tuple[str, str, str]] = [
    ("comma", "a,b\n1,2\n", ","),
    ("semicolon, with commas in the texts", "id;text\n1;well, yes, no\n2;a, b\n3;fine\n", ";"),
    ("tab", "id\ttext\n1\twell, yes; no\n2\tb\n", "\t"),
    ("bar", "id|text\n1|well, yes\n2|b\n", "|"),
    ("a line break in quotes", 'id,text\n1,"two\nlines; and | more"\n2,b\n', ","),
    ("quotes doubled", 'id;text\n1;"he said ""hi, you"" and left"\n2;b\n', ";"),
    ("one column", "text\nfine, good\nbad\n", ","),
    ("decimal commas", "id;score\n1;4,5\n2;3,5\n", ";"),
    ("a comma in some headers", "id;How likely, 0 to 10\n1;9\n2;8\n", ";"),
    ("nothing", "", ","),
]


@pytest.mark.parametrize(("text", "delimiter"), [row[1:] for row in DELIMITED], ids=[row[0] for row in DELIMITED])
def test_delimiters(text: str, delimiter: str) -> None:
    found = dialect_of(text)
    assert (found.delimiter, found.says_so) == (delimiter, False)


def test_the_first_line_may_say_the_delimiter() -> None:
    for text in ("sep=;\r\na;b\r\n", "SEP=;\na;b\n", '"sep=;"\na;b\n'):
        assert dialect_of(text)[::2] == (";", True)
    assert dialect_of("sep=x and more\n1\n").says_so is False
    assert dialect_of("sep=;\na,b\n", "|")[::2] == ("|", True), "a person has the last word"


@pytest.mark.parametrize(
    ("given", "char"), [("comma", ","), ("tab", "\t"), ("\\t", "\t"), (";", ";"), ("bar", "|"), ("^", "^")]
)
def test_a_delimiter_can_be_named(given: str, char: str) -> None:
    assert delimiter_named(given) == char


@pytest.mark.parametrize("given", ["", ";;", '"', "\n"])
def test_what_is_no_delimiter_is_refused(given: str) -> None:
    with pytest.raises(Misuse, match="--delimiter"):
        delimiter_named(given)


HEADERS: list[tuple[str, list[list[object]], int | None]] = [
    ("known names", [["id", "comment"], ["1", "fine"]], 0),
    ("known names in Chinese", [["编号", "评论内容"], ["1", "好"]], 0),
    ("unknown names above numbers", [["Filiale", "Wert X"], ["a", "1"], ["b", "2"]], 0),
    ("a long question", [["x", "1. How likely are you to recommend us to a friend, from 0 to 10?"], ["a", "9"], ["b", "8"]], 0),
    ("values at once", [["1", "fine"], ["2", "good"]], None),
    ("an address at once", [["ann@example.com", "fine"], ["bob@example.com", "good"]], None),
    ("a date at once", [["2025-03-04", "fine"]], None),
    ("texts only", [["It is fine, thanks"], ["It is good, thanks"], ["No"]], None),
    ("a short name above long texts", [["Stimme"], ["It crashes whenever I open it on my old phone"], ["Where is my refund? I have waited"]], 0),
    ("a title above the table", [["Export of March", "", ""], ["id", "comment", "score"], ["1", "fine", "5"], ["2", "bad", "1"]], 1),
    ("nothing", [], None),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "place"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_headers(rows: list[list[object]], place: int | None) -> None:
    found = header_of(rows)
    assert found.row == place
    assert found.begins == (0 if place is None else place + 1)


def test_a_person_has_the_last_word_about_the_header() -> None:
    assert header_of([["id", "comment"]], forced=False)[:2] == (None, 0)
    assert header_of([["1", "2"]], forced=True)[:2] == (0, 1)
