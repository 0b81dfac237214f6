"""What the lexicon makes of a text: a prior, so the table shows what may be relied on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router import lexicons
from services.router.classify import FAINT, Prior, classify
from services.router.feedback import Score
from services.router.lexicons import LEXICON
from services.router.matcher import Matcher
from shared.events.feedback import METRIC_RANGES
from shared.folding import folded_utf8

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
        ("😭", "negative"),
        ("💔", "negative"),
        (":(", "negative"),
        ("Still waiting :-(", "negative"),
        ("It is not there :(", "negative"),  # no negation reaches what is drawn
        ("还没有收到😭", "negative"),
        ("The tool is used to make great reports", "positive"),
        (":)", "positive"),
        ("🙏", "positive"),
        ("原因：（见下）", "neutral"),  # a bracket after a colon is no face
        ("see the list:(a) and (b)", "neutral"),
        ("I haven't received my refund", "negative"),
        ("商家不退款", "negative"),
        ("No crashes", "neutral"),  # nothing bad is said, and nothing good
        ("used to be great", "negative"),
        ("less than impressed", "negative"),
        ("The app is no longer good", "negative"),
        ("not cheap but great", "positive"),  # the negation ends with its side
        ("没想到这么好", "positive"),
        ("没想到这么差", "negative"),
        ("好难用", "negative"),
        ("好慢", "negative"),
        ("好烦", "negative"),
        ("The export has no header row, thanks", "neutral"),
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
        # what is missed, what is not mended: negation makes no praise of them
        ("I haven't received my refund", "complaint"),
        ("You never sent my refund", "complaint"),
        ("No refund", "complaint"),
        ("You didn't fix the crash", "bug"),
        ("There is no way to cancel my subscription", "complaint"),
        ("I have never been so disappointed", "complaint"),
        ("Never had such a terrible experience", "complaint"),
        ("一个月了还没退款", "complaint"),
        ("商家不退款", "complaint"),
        ("未收到退款", "complaint"),
        ("没想到这么差", "complaint"),
        ("从来没见过这么差的服务", "complaint"),
        ("没有比这更差的了", "complaint"),
        ("没有解决我的问题", "complaint"),
        ("I was not disappointed", "comment"),  # perhaps praise; nothing shows it but the negation
        ("It never crashes, I love it", "praise"),
        ("I have never been so happy", "praise"),
        # a courtesy is none
        ("The export has no header row, thanks", "comment"),
        ("The export has no header row, thanks :)", "comment"),
        ("I still have not received my password reset mail. Thank you", "complaint"),
        ("My order never arrived. Thanks for your help.", "comment"),
        ("导出的文件是空的，谢谢", "comment"),
        ("请帮忙看一下，谢谢", "comment"),
        ("导出的文件是空的🙏请看一下", "comment"),
        ("请帮忙看一下，感谢您！", "comment"),
        ("I would appreciate details about your plans", "comment"),
        ("Thanks!", "praise"),
        ("Many thanks :)", "praise"),
        ("谢谢你们", "praise"),
        ("thanks for the quick fix", "praise"),
        ("谢谢你们的帮助", "praise"),
        ("感谢客服耐心解答", "praise"),
        # nor is one side of two
        ("The app is good but it logs me out every hour", "bug"),
        ("Works great, but the PDF export stays blank", "comment"),
        ("非常好用，但是导出的文件是空的", "comment"),
        ("味道不错，就是送得晚", "comment"),
        ("这就是我喜欢的", "praise"),  # here it insists
        ("nothing but praise, excellent", "praise"),
        ("不但便宜，而且好用", "praise"),
        ("Could be better", "complaint"),
        ("used to be great", "complaint"),
        ("Service can be better!", "comment"),
        ("I was happy until yesterday", "comment"),
        # a nice word in a long text about something else
        ("It is nice here. " + "The report of the last month lists every order twice in a row. " * 3, "comment"),
        ("Great job. The report is short and reads well.", "praise"),
        # the strongest anger
        ("Terrible, awful, horrible", "complaint"),
        ("质量很差，很失望，后悔购买", "complaint"),
        ("excellent, awesome, fantastic, superb, love it", "praise"),
        ("It crashes. Terrible, awful, horrible", "bug"),
        ("😭", "complaint"),
        ("💔", "complaint"),
        (":(", "complaint"),
        # what people write
        ("It does not work", "bug"),
        ("The app won't open", "bug"),
        ("doesnt work", "bug"),
        ("doesn`t work", "bug"),
        ("cant login", "bug"),
        ("it wont load", "bug"),
        ("I want my money back", "complaint"),
        ("you charged me twice", "complaint"),
        ("Couldn't be happier with this", "praise"),
        ("I can't recommend this enough", "praise"),
        ("Would not recommend", "complaint"),
        ("不怎么样", "complaint"),
        ("建议大家别买", "complaint"),
        ("登录不进去", "bug"),
        ("收不到验证码", "bug"),
        ("支付不了", "bug"),
        ("扣了两次钱", "complaint"),
        ("重复扣费了", "complaint"),
        ("好难用", "complaint"),
        ("好慢", "complaint"),
        ("好烦", "complaint"),
        ("麻烦问一下几点营业", "question"),
        ("App一打开就闪退，希望能尽快修复", "bug"),
        ("希望能尽快发货", "comment"),
    ],
)
def test_kind(text: str, kind: str) -> None:
    assert prior(text).kind == kind


@pytest.mark.parametrize(
    ("text", "score", "kind"),
    [
        ("n/a", ("nps", 2), "complaint"),  # the score says something although the text does not
        (".", ("stars", 1), "complaint"),
        ("test", ("nps", 0), "complaint"),
        ("n/a", ("nps", 10), "praise"),
        ("n/a", ("csat", 3), "comment"),
        ("n/a", ("unheard-of", 2), "noise"),
        ("The export is empty", ("nps", 10), "comment"),
        ("great, thanks", ("nps", 0), "comment"),
    ],
)
def test_kind_with_a_score(text: str, score: tuple[str, float], kind: str) -> None:
    assert prior(text, score).kind == kind


def test_every_word_of_praise_can_make_praise() -> None:
    faint = [word for word, entry in LEXICON.items() if entry.kind == "praise" and entry.polarity <= FAINT]
    assert not faint


def test_what_is_said_about_a_word_is_said_about_one_that_means_something() -> None:
    lists = (lexicons._MISHAPS, lexicons._OWED, lexicons._AMBIGUOUS, lexicons._SHARED)
    named = {word for words in lists for word in lexicons._words(words)}
    assert not [word for word in named if not any(LEXICON[word][1:3]) and not LEXICON[word].kind]


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
        ("They fixed it immediately, great service", 0),  # haste in praise asks for none
        ("客服马上就解决了，很满意", 0),
        ("请希望能尽快处理", 1),
        ("Great service, but our production is down", 2),
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
