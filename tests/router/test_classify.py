"""What the lexicon makes of a text: a prior, so the table shows what may be relied on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.classify import Prior, classify
from services.router.feedback import Score
from services.router.lexicons import LEXICON
from services.router.matcher import Matcher
from services.router.text import folded_utf8
from shared.events.feedback import METRIC_RANGES

MATCHER = Matcher([], LEXICON)


def prior(text: str, *scores: tuple[str, float]) -> Prior:
    given = [Score(metric, value) for metric, value in scores]
    return classify(MATCHER.scan(folded_utf8(text)), given, METRIC_RANGES)


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("I love it, great job", "positive"),
        ("This is terrible", "negative"),
        ("The app is not good", "negative"),
        ("not bad at all", "positive"),
        ("I have never had any problems", "positive"),
        ("The meeting is on Tuesday", "neutral"),
        ("No. Great!", "positive"),  # the negation ends with its clause
        ("很好用", "positive"),
        ("不是很好", "negative"),
        ("一点都不好用", "negative"),
        ("没有什么不满意的", "positive"),
        ("太慢了！", "negative"),
        ("你好，请问在吗", "neutral"),
        ("和上次差不多", "neutral"),
        ("不仅便宜，而且好用", "positive"),
        ("👍", "positive"),
        ("😡", "negative"),
    ],
)
def test_sentiment_of_words(text: str, sentiment: str) -> None:
    assert prior(text).sentiment == sentiment


def test_intensifiers_weigh() -> None:
    assert prior("very slow").feeling < prior("slow").feeling < prior("a bit slow").feeling < 0
    assert prior("非常满意").feeling > prior("满意").feeling > prior("比较满意").feeling > 0


@pytest.mark.parametrize(
    ("text", "scores", "sentiment", "low"),
    [
        ("", [("nps", 10)], "positive", False),
        ("", [("nps", 7)], "neutral", False),
        ("", [("nps", 6)], "negative", False),
        ("", [("nps", 2)], "negative", True),
        ("", [("stars", 1)], "negative", True),
        ("", [("stars", 5)], "positive", False),
        ("", [("csat", 3)], "neutral", False),
        ("", [("hmd", 0)], "negative", True),
        ("", [("hmd", 1)], "positive", False),
        ("", [("ces", 7)], "positive", False),
        ("great, thanks", [("nps", 0)], "negative", True),  # what they gave says more than our reading of their words
        ("", [("unheard-of", 3)], "neutral", False),
        ("terrible", [("unheard-of", 3)], "negative", False),
    ],
)
def test_sentiment_of_scores(text: str, scores: list[tuple[str, float]], sentiment: str, low: bool) -> None:
    found = prior(text, *scores)
    assert (found.sentiment, found.low_score) == (sentiment, low)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The app crashes when I upload a photo", "bug"),
        ("更新以后一打开就闪退", "bug"),
        ("Please add dark mode", "request"),
        ("希望增加深色模式", "request"),
        ("How do I export my data?", "question"),
        ("请问怎么开发票？", "question"),
        ("Thank you so much, excellent service", "praise"),
        ("太棒了，继续加油", "praise"),
        ("I was overcharged and nobody answers, unacceptable", "complaint"),
        ("态度恶劣，我要投诉", "complaint"),
        ("I moved to Berlin last year", "comment"),
        ("test", "noise"),
        ("你好", "noise"),
        ("!!!", "noise"),
        ("asdf", "noise"),
        ("🤷", "noise"),
        ("👍", "praise"),
        ("no bugs so far, works well", "praise"),
    ],
)
def test_kind(text: str, kind: str) -> None:
    assert prior(text).kind == kind


@pytest.mark.parametrize(
    ("text", "urgency"),
    [
        ("URGENT: the system is down for everyone", 2),
        ("系统瘫痪了，十万火急", 2),
        ("请尽快处理", 1),
        ("we are blocked by this", 1),
        ("not urgent", 0),
        ("不着急", 0),
        ("whenever you have time", 0),
    ],
)
def test_urgency(text: str, urgency: int) -> None:
    assert prior(text).urgency == urgency


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(sorted(LEXICON)), max_size=12).map(" ".join),
    st.lists(st.tuples(st.sampled_from([*METRIC_RANGES, "other"]), st.floats(-1e9, 1e9)), max_size=3),
)
def test_never_out_of_bounds(text: str, scores: list[tuple[str, float]]) -> None:
    found = prior(text, *scores)
    assert -1 <= found.feeling <= 1
    assert 0 <= found.kind_confidence <= 1
    assert found.sentiment in {"positive", "neutral", "negative"}
    assert found.kind in {"bug", "request", "complaint", "comment", "praise", "question", "noise"}
