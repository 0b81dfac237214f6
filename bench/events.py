"""The work that everything here is measured on: feedback of 600 bytes on average, half of it Chinese. Pure.

Text of about 200 characters, made of clauses; two in five hold one of 200 keywords, of which each is one rule. The
same seed gives the same events on every machine. A `Piece` is the JSON of one event cut where its number goes, so
that a load generator makes a body that was never sent before by one `join`.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 20261122
RULES = 200
MATCHING = 0.4
TEAMS = ("product", "support", "sales")
TEXT_CHARS = (110, 270)

_EN_THINGS = ("invoice", "calendar", "printer", "login", "refund", "delivery", "search", "camera", "coupon", "backup")
_EN_FAULTS = (
    "freezes",
    "vanishes",
    "loops",
    "times out",
    "shows zero",
    "doubles",
    "stalls",
    "blanks",
    "resets",
    "lags",
)
_ZH_THINGS = ("发票", "日历", "打印机", "登录", "退款", "配送", "搜索", "摄像头", "优惠券", "备份")
_ZH_FAULTS = ("卡死", "消失", "死循环", "超时", "显示为零", "重复两次", "停住", "一片空白", "被重置", "延迟")

_EN_CLAUSES = (
    "we moved to the new plan in spring and the whole team uses it on phones",
    "yesterday afternoon I sat down with the accounts and could not finish",
    "the page on my tablet asks me to wait and then asks again",
    "my colleague in the other shop sees the same on her laptop",
    "I wrote to you about this two weeks ago and sent the pictures",
    "there are about forty customers a day who go through that screen",
    "it started after the update of last Tuesday, before that it was not so",
    "when I change the date the list jumps back to the first line",
    "could somebody tell me which setting this depends on",
    "the number in the report and the number on the receipt differ",
    "we close the month on Friday and need the figures by then",
    "on the train the connection is thin, and then nothing is kept",
    "I tried another browser and a private window with the same result",
    "the manual says to open the menu at the top but I have no such menu",
    "two of our drivers share one account, perhaps that matters",
    "please call in the morning, in the evening we are at the counter",
)
_ZH_CLAUSES = (
    "我们店里春天换了新的套餐以后，大家都在手机上用",
    "昨天下午对账的时候怎么也做不完",
    "平板上的页面一直让我等，等完了又让我再等一遍",
    "另一家分店的同事在电脑上也看到一样的情况",
    "两个星期前已经写信说过这件事，还附了截图",
    "每天大概有四十位客人要经过这个画面",
    "上周二更新之后才开始的，以前都没有这样",
    "改了日期以后列表就跳回第一行",
    "能不能告诉我这个跟哪一项设置有关",
    "报表上的数字和小票上的数字对不上",
    "我们周五要结账，在那之前需要这些数据",
    "在地铁上信号弱的时候什么都没有保存下来",
    "换了浏览器也开了无痕窗口，结果还是一样",
    "说明书上写打开上面的菜单，可是我这里没有",
    "两位司机共用一个账号，不知道有没有关系",
    "请上午打电话，晚上我们都在柜台忙",
    "安卓和苹果的手机都试过了",
)
_CHANNELS = ("survey", "ticket", "chat", "review", "email", "in_app")
_SOURCES = ("app-store", "zendesk-eu", "web-form", "shop-survey")


def keywords() -> list[str]:
    """One a rule, English and Chinese in turn. None stands within another, none in a clause."""
    english = [f"{thing} {fault}" for thing in _EN_THINGS for fault in _EN_FAULTS]
    chinese = [thing + fault for thing in _ZH_THINGS for fault in _ZH_FAULTS]
    return [word for pair in zip(english, chinese, strict=True) for word in pair]


def team_of(rule: int) -> str:
    return TEAMS[rule % len(TEAMS)]


def routing_yaml() -> str:
    """The 200 rules, as the router reads them. YAML holds JSON."""
    rules = [
        {
            "name": f"rule-{number:03d}",
            "when": {"text": {"contains": [word]}},
            "then": [{"assign": team_of(number)}, {"tag": [f"theme-{number % 20}"]}],
        }
        for number, word in enumerate(keywords())
    ]
    return json.dumps({"rules": rules}, ensure_ascii=False, indent=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """One event. `number.join(parts)` is its JSON body; a number of 12 digits keeps the length the same."""

    parts: tuple[bytes, ...]
    rule: int | None
    """Which keyword its text holds."""

    def body(self, number: int) -> bytes:
        return numeral(number).join(self.parts)


def numeral(number: int) -> bytes:
    return b"%012d" % number


def pieces(count: int, *, distinct_customers: bool = False, seed: int = SEED) -> list[Piece]:
    """So many different events. Every customer says one of them; with `distinct_customers` each body's number makes
    another customer, and nobody gives a score, so that nobody is content and each is owed an answer."""
    rng = random.Random(seed)
    words = keywords()
    return [_piece(rng, words, index, distinct_customers) for index in range(count)]


def _piece(rng: random.Random, words: Sequence[str], index: int, distinct_customers: bool) -> Piece:
    chinese = index % 2 == 1
    clauses = list(_ZH_CLAUSES if chinese else _EN_CLAUSES)
    rng.shuffle(clauses)
    wanted = rng.randint(*TEXT_CHARS)
    rule = None
    if rng.random() < MATCHING:
        rule = rng.randrange(0, RULES, 2) + chinese
        clauses.insert(rng.randrange(2), words[rule])
    used: list[str] = []
    while clauses and sum(map(len, used)) < wanted:
        used.append(clauses.pop(0))
    text = "，".join(used) + "。" if chinese else ". ".join(used) + "."
    customer = "@" if distinct_customers else f"{index:06d}"
    event: dict[str, object] = {
        "source": _SOURCES[index % len(_SOURCES)],
        "external_id": f"b-@-{index:05d}",
        "text": text,
        "customer": {"id": f"c-{customer}", "email": f"c-{customer}@example.com"},
        "channel": _CHANNELS[index % len(_CHANNELS)],
    }
    if index % 4 < 2:
        event["language"] = "zh-CN" if chinese else "en"
    if index % 5 == 0 and not distinct_customers:
        event["scores"] = [{"metric": "nps", "value": rng.randint(0, 10)}]
    if index % 3 == 0:
        event["occurred_at"] = f"2026-11-{1 + index % 20:02d}T09:30:00+08:00"
    encoded = json.dumps(event, ensure_ascii=False, separators=(",", ":")).replace("@example.com", "#example.com")
    parts = [part.replace(b"#example.com", b"@example.com") for part in encoded.encode().split(b"@")]
    return Piece(tuple(parts), rule)


def batch(of: Sequence[Piece]) -> tuple[bytes, ...]:
    """NDJSON of all of them, cut likewise: one number makes a batch that was never sent before."""
    parts: list[bytes] = [b""]
    for piece in of:
        parts[-1] += piece.parts[0]
        parts.extend(piece.parts[1:])
        parts[-1] += b"\n"
    return tuple(parts)
