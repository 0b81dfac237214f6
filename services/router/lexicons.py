"""The words that carry feeling, intent and haste, Chinese and English: our own compilation, for feedback.

Polarity is in steps from −3 to 3. A word of polarity 0 is there to cover another inside it: "你好" is no praise
although "好" is. `*` leaves a word's end open. A longer word wins over the shorter ones inside it, so "不好" needs no
arithmetic, and "not working" is a bug before it is a negation.

Where a mistake has to be made, praise is read as a comment rather than a complaint as praise: nobody answers praise.
"""

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from services.router import feelings

NEGATES = 1
WEIGHS = 2
"""Makes the next word heavier or lighter, by `factor`."""
CONTRASTS = 3
"""What follows is the other side: no text with one of these is praise."""
COURTESY = 4
"""Written under complaints too: it says something where it is all there is, or where it is told for what."""
FACE = 5
"""A courtesy or a groan, drawn; so a bracket after a colon may be mere punctuation."""

ELSEWHERE, ANY, ENGLISH, AMBIGUOUS = -1, 0, 1, 2
"""Whose word it is: Japanese, Spanish, German or French (`feelings`), everybody's, English, or English and another word in
another language written in Latin letters."""

TURNED = -0.7
"""What negation makes of a word: "not good" is less bad than "bad"."""


class Entry(NamedTuple):
    word: str
    polarity: float
    role: int
    factor: float
    kind: str
    """bug, request, complaint, praise, question, noise, or nothing."""
    weight: float
    urgency: int
    """2: urgent, 1: high."""
    turned: float = TURNED
    """What negation makes of its polarity. Above 0: it is not negated at all."""
    tongue: int = ANY
    emotion: str = ""
    """anger, worry, disappointment, confusion, delight, thanks, or none."""
    cause: str = ""
    """Of the urgency: outage, safety …"""


_POLARITY: Mapping[float, str] = {
    3.0: "excellent, outstanding, amazing, awesome, fantastic, wonderful, superb, brilliant, perfect, flawless,"
    " love it, absolutely love, best ever, top notch, exceptional, phenomenal, life saver, lifesaver, game changer,"
    " couldn't be happier, could not be happier, couldn't be more pleased, couldn't ask for more,"
    " couldn't ask for better, can't recommend this enough, can't recommend it enough, can't recommend them enough,"
    " can't recommend enough, cannot recommend this enough, cannot recommend enough, can't thank you enough,"
    " 太棒了, 非常棒, 完美, 超赞, 绝佳, 极好, 太好了, 太好用了, 无可挑剔, 五星好评, 强烈推荐, 惊喜, 😍, 🥰, 🤩",
    2.0: "great, love, loved, loves, loving, delighted, impressed, impressive, happy with, very happy, so happy, glad,"
    " pleased, enjoy*, beautiful, lovely, highly recommend, best, thrilled, grateful, superfast, gorgeous,"
    " thank you so much for, thanks so much for, thanks a lot for, couldn't be better, kudos, 表扬, 赞一个, well done,"
    " good job, great job, works perfectly, spot on, 喜欢, 满意, 很棒, 真棒, 点赞, 优秀, 出色, 超好,"
    " 很赞, 赞, 给力, 贴心, 爱了, 好评, 推荐, 惊艳, 好用, 好吃, 好看, 开心, 高兴, 精美, 优质, 周到, 物超所值, 值得购买,"
    " 物美价廉, 性价比高, 爽, 😊, 😀, 😃, 😄, 😁, 😘, ☺, 💕, 💖, 💯, 👍, ❤, 🎉, 👏",
    1.0: "good, nice, keep up the, keep it up, 继续加油, thanks for, thank you for, helpful, useful, friendly,"
    " reliable,"
    " clean, comfortable, convenient, polite, professional, works well, work well, works fine, fine,"
    " happy, satisfied, responsive, intuitive, affordable, efficient,"
    " pleasant, thankful, appreciate*, handy, solid, stable, cozy, delicious, 不错,"
    " 方便, 快捷, 干净, 舒适, 舒服, 实用, 清晰, 流畅, 热情, 友好, 耐心, 专业, 及时, 靠谱, 稳定, 简单, 漂亮,"
    " 实惠, 划算, 值得, 细心, 安静, 解决了, 很快, 正品, 结实, 可爱, 温馨, 没问题, 没有问题, 没毛病, no problem,"
    " no problems, no issues, no complaints, not bad, can't complain, cannot complain, can't wait, 挺好, 放心",
    0.75: "好, 香, 甜, decent",
    0.6: "easy, smooth, smoothly, fast, quick, quickly, clear, solved, resolved, fixed, worth, better, improved,"
    " prompt, promptly, simple, recommended, ok, okay, 还行, 便宜, 还可以",
    -0.5: "一般, 稍大, 稍小, 有待, 不够, mediocre, average, so-so",
    -1.0: "slow, slowly, late, delay*, confus*, annoying, annoyed, difficult, hard to, unclear, problem, problems,"
    " issue, issues, expensive, overpriced, noisy, dirty, old, outdated, missing, unhelpful, inconvenient, lacking,"
    " lacks, complicated, limited, unfortunately, wrong, mistake*, laggy, lag, lags, clunky, cold, small, cramped,"
    " unstable, poorly, weak, worse, trouble, troubles, concern*, stuck, sorry, regret*, buggy, glitch*, error, errors,"
    " unable, cannot, can't, couldn't, doesn't work, didn't work, no response, 慢, 贵, 麻烦, 问题, 卡顿, 有点卡, 太卡,"
    " 很卡, 复杂, 难用, 吵, 脏, 旧, 小贵, 不便, 一般般, 不清楚, 不方便, 不好, 不太好, 延迟, 迟迟, 缺少, 错误, 困惑,"
    " 遗憾,"
    " 可惜, 不足, 缺点, 单薄, 异味, 破损, 瑕疵, 不能, 无法, 没法, 没反应, 打不开, 用不了, 不行, 不稳定, 噪音, 褪色,"
    " 掉色,"
    " 偏小, 偏大, 不清晰, 拖延, 没人, 无人, 不实用, 不舒服, 不干净, 太贵, 太慢, 不值, 好难用, 好慢, 好烦, 好贵, 好吵,"
    " 好卡, 好难, 好麻烦, 烦, 好气,"
    " could be better, could have been better, should be better, should have been better, could do better, not fix,"
    " never fix, didn't fix, doesn't fix, don't fix, won't fix, can't fix, couldn't fix, not solve, didn't solve,"
    " doesn't solve, never solve, not resolve, didn't resolve, doesn't resolve, never resolve, didn't help,"
    " doesnt work, didnt work, cant, couldnt, cant login, cant log in, wont load, wont open, won't open, does not work,"
    " 没有解决, 没解决, 未解决, 不解决, 解决不了, 不过如此, 登录不进去, 收不到验证码, 支付不了,"
    " 😕, 😞, 😢, 😔, 😣, 😖, 😫, 😥, 😓, 😒, 🙄, 🙁, ☹",
    -2.0: "bad, poor, disappoint*, frustrat*, broken, fail*, crash*, unacceptable, rude, unusable, not working,"
    " doesn't work at all, waste, wasted, hate, hated, hates, angry, upset, unhappy, dissatisfied, unreliable, useless,"
    " ridiculous, misleading, overcharged, double charged, charged twice, damaged, defective, faulty, never again,"
    " won't be back, cancel my, refund, ignored, unprofessional, dishonest, avoid, ripped off, lost my, lost all,"
    " leak*,"
    " smelly, filthy, complain*, lie, lied, lies, painful, gave up, give up, 差, 失望, 糟糕, 坏了, 坏的, 崩溃, 闪退,"
    " 投诉,"
    " 不满, 不满意, 难吃, 难看, 难受, 没用, 后悔, 垃圾, 破烂, 气愤, 生气, 愤怒, 退款, 退货, 差劲, 太差, 很差, 最差,"
    " 差评,"
    " 欺骗, 被骗, 忽悠, 敷衍, 推诿, 不负责任, 态度差, 假货, 劣质, 质量差, 坑人, 太坑, 坑爹, 失灵, 报错, 无语, 郁闷,"
    " 恶劣,"
    " 乱收费, 扣错, 重复扣款, 多扣, 丢失, 弄丢, 漏水, 恶心, 臭, 烂, 讨厌, 不推荐, 不建议, 缺陷, 不新鲜, 糊弄, 不诚信,"
    " 伤心, 渣, 气人, 可恶, 不建议购买, 不会再来, 不会再买, 浪费,"
    " 上当, 虚假, 扯淡, 破, 不怎么样, 别买, 不要买, 好差, 好失望, 好垃圾, 好坑,"
    " would not recommend, wouldn't recommend, do not recommend, don't recommend, cannot recommend, can't recommend,"
    " not recommend, money back, charged me twice, thanks for nothing, 扣了两次, 重复扣费, 😭, 💔, 😩, 👎, 😡, 😠, 😤,"
    " 💩",
    -3.0: "terrible, awful, horrible, worst, disgusting, scam, fraud, appalling, dreadful, atrocious, nightmare,"
    " pathetic, garbage, rubbish, disgrace*, outrageous, abysmal, furious, 太差了, 极差, 骗子, 诈骗, 黑店, 太垃圾,"
    " 极其失望,"
    " 非常失望, 恶心死, 气死, 坑死, 一塌糊涂, 忍无可忍, 🤬, 🤮, 🖕",
    0.0: "你好, 您好, 好的, 好像, 好几, 好多, 好久, 刚好, 正好, 最好, 爱好, 只好, 好不容易, 好歹, 幸好, 好处, 好友,"
    " 友好度,"
    " 更好, 恰好, 好奇, 好吗, 好了吗, 好不好, 不厌其烦, 麻烦您, 麻烦你, 麻烦帮, 麻烦请, 麻烦问一下, 麻烦问下, 麻烦处理,"
    " 麻烦看, 麻烦尽快, 希望能尽快, 希望尽快, 没想到, 但愿, 好评返现, 便宜没好货, good luck, too good to be true, good for nothing,"
    " would appreciate, would greatly appreciate, would be appreciated, would be greatly appreciated,"
    " would really appreciate,"
    " it'd be nice, it'd be great, it'd be good, will be nice, will be good, will be great, will be better,"
    " would have been nice, would have been good, would have been great, be nice if, be great if, be good if,"
    " be awesome if,"
    " be awesome to, be nice to, be great to, be good to, better not, 差不多, 出差, 差异, 差别, 误差, 时差, 差额,"
    " 偏差, 差一点, 破解, 突破, 打破, 破产,"
    " 有问题吗, 提问题, 请问问题, 脏话, 慢慢, 旧金山, 贵公司, 贵司, 贵店, 宝贵, 贵姓, 珍贵, 贵方, 小时, 简单说,"
    " good morning, good afternoon, good evening, good day, best regards, kind regards, best wishes, best practice*,"
    " old version, cold brew, small business*, lost and found, nice to meet you,"
    " issue number, issue tracker, hard drive, hard disk, at best, would love, i'd love, would be great, would be nice,"
    " would be good, would be helpful, it would be better, nice to have, better if, would be perfect, fast food,"
    " waste bin, clear cache, clear the, late night, error code, dear sir, wrong*doing, issue date, of issue",
}

_NEGATORS = (
    "not, never, no, no longer, used to be, used to work, used to have, less than, far from, anything but, isn't,"
    " wasn't, aren't, weren't, don't, doesn't, didn't, won't, wouldn't, hardly, barely, without,"
    " nothing, none, neither, nor, haven't, hasn't, hadn't, shouldn't, dont, doesnt, didnt, isnt, wasnt, havent, wont,"
    " ain't, aint,"
    " 不, 没, 没有, 未, 毫无, 并不, 并没有, 不是, 不太, 不算, 从不, 从未, 绝不, 谈不上, 算不上, 无, 别, 没那么"
)
# Characters of negation in words that negate nothing.
_NO_NEGATORS = (
    "不仅, 不但, 不断, 不同, 不管, 不论, 不如, 不得不, 不少, 不知, 不只, 不光, 不客气, 不好意思, 有没有, 是不是,"
    " 能不能, 可不可以,"
    " 会不会, 好不好, 要不要, 特别, 别人, 区别, 级别, 分别, 别的, 类别, 性别, 无论, 无线, 未来, 沉没, no one,"
    " not only, no matter, no doubt, why not, if not, or not, whether or not, no later, not sure, 对不起, 无意,"
    " 来不及, 忍不住, 差不多, 无疑"
)
_FACTORS: Mapping[float, str] = {
    1.5: "very, really, extremely, so, too, absolutely, totally, completely, incredibly, super, highly, utterly,"
    " truly, never been so, never been more, never had such, never had such a, never seen such, never seen such a,"
    " never felt so, never experienced such, couldn't be more, could not be more, 没见过这么, 没见过如此, 没用过这么,"
    " 没吃过这么, 没遇到过这么, 没有比这更, 没有比这个更,"
    " 非常, 很, 太, 特别, 十分, 极其, 超级, 超, 真的, 真是, 相当, 实在, 尤其, 完全, 极度, 巨",
    0.6: "a bit, a little, slightly, somewhat, fairly, kind of, sort of, a tad, 有点, 有些, 稍微, 稍, 略, 比较, 还算,"
    " 些许",
}
# Not the other side: "nothing but praise".
_NO_CONTRASTS = "nothing but, last but not least, but also, no choice but, 再好不过, 最好不过, 不过分, 不过瘾, 只是因为"
_CONTRASTS = (
    "but, however, except, although, though, only complaint, only problem, only issue, only downside, only thing,"
    " other than, apart from, wish, until, when it works, bt, 但, 但是, 不过,"
    " 可是, 然而, 只是, 美中不足, 唯一, 要是"
)
_AFTER_A_COMMA = ",就是"
"""There it is a "but"; elsewhere it insists."""
# By themselves, under a request, or under a complaint. Followed by the reason in Chinese (谢谢你们的…) they are thanks.
_COURTESIES: Mapping[float, str] = {
    1.0: "thanks, thank you, thanks a lot, many thanks, thanks again, thank you again, thx, cheers, thanks in advance,"
    " thank you in advance, thank you for your help, thanks for your help, thank you for your time,"
    " thanks for your time,"
    " thank you for your attention, thanks for your attention, thank you for your assistance,"
    " thank you for your support,"
    " thanks for your support, thank you for your understanding, thank you for your cooperation,"
    " thank you for your reply,"
    " thank you for your response, thanks for your reply, thanks for your response, thank you for your consideration,"
    " thank you for your patience, thank you for reading, thank you for looking into, thanks for looking into,"
    " 谢谢, 谢谢你, 谢谢您, 谢谢你们, 谢谢了, 谢谢啦, 谢谢大家, 多谢, 谢谢合作, 谢谢配合, 谢谢支持, 谢谢帮助, 感谢您,"
    " 感谢你, 感谢合作, 感谢配合, 感谢支持, 感谢关注, 感谢百忙, 感谢您百忙",
    2.0: "thank you so much, thanks so much, thank you very much, 感谢, 非常感谢, 万分感谢, 十分感谢",
}
_FACES: Mapping[float, str] = {
    1.0: ":), :-), ;), ;-), =), 🙏",
    -1.0: ":(, :-(, =(, :'(",
}

_KINDS: Mapping[tuple[str, float], str] = {
    ("bug", 2.5): "bug, bugs, crash*, not working, doesn't work, does not work, doesn't load, won't load, won't open,"
    " stopped working, freezes, frozen, blank screen, black screen, white screen, error message, stack trace,"
    " error code,"
    " error 4*, error 5*, http 5*, http 4*, exception, glitch*, can't log in, cannot log in, can't login, cannot login,"
    " unable to log in, unable to login, fails to, failed to, keeps failing, doesnt work, didnt work, did not work,"
    " cant login, cant log in, wont load,"
    " wont open, will not open, will not load, won't save, timed out, times out, data loss, won't start,"
    " not loading, not responding, not syncing, doesn't sync, 闪退, 崩溃, 报错, 白屏, 黑屏, 打不开, 用不了, 登录不了,"
    " 登不上,"
    " 无法登录, 不能登录, 登录不进去, 收不到验证码, 支付不了, 加载失败, 加载不出来, 卡死, 死机, 没反应, 无响应, 出错,"
    " 错误代码, 上传失败, 保存失败, 支付失败, 提交失败,"
    " 同步失败, 无法打开, 无法使用, 不能用, 失灵, 乱码, 故障, 漏洞, 系统错误, 异常",
    ("bug", 1.0): "error, errors, broken, failed, fails, freeze, lag, laggy, logs me out, 错误, 失败, 失效, 卡顿,"
    " 异常提示",
    ("request", 2.5): "feature request, feature requests, please add, could you add, can you add, would love, i'd love,"
    " would be great, would be nice, would be good, would be helpful, would be perfect, it would be better,"
    " nice to have,"
    " i wish, we wish, wish there was, wish there were, wish you, suggest*, suggestion*, should have, should add,"
    " should be able to, would like to see, please make, please support, please consider, any plans to, add support,"
    " add a, better if, looking forward to, needs a, need an option, could be improved, 希望增加, 希望添加,"
    " 希望能增加, 希望能添加, 希望能支持, 希望可以增加,"
    " 希望支持, 希望有, 希望以后, 建议, 能不能增加, 能不能加, 能否增加, 能否支持, 可不可以加, 增加一个, 加一个, 加个,"
    " 要是能,"
    " 如果能, 最好能, 期待, 盼望, 请增加, 请支持, 需要增加, 改进, 想要一个, 新功能, 功能需求",
    ("request", 1.0): "would like, feature, option to, ability to, improve, improvement*, 希望, 功能, 优化, 增加, 想要",
    ("complaint", 2.0): "complain*, unacceptable, refund, overcharged, double charged, charged twice, ripped off, scam,"
    " rude, never again, worst, cancel my, still waiting, no response, no reply, nobody answers, waste of,"
    " would not recommend,"
    " wouldn't recommend, do not recommend, don't recommend, cannot recommend, can't recommend, money back,"
    " charged me twice, never received, not received, 投诉, 差评, 退款,"
    " 退货, 态度差, 态度恶劣, 维权, 骗子, 欺骗, 假货, 不负责任, 推诿, 敷衍, 迟迟, 一直没有, 没人管, 没人处理, 乱收费,"
    " 强烈不满,"
    " 太差, 坑人, 举报, 要求赔偿, 赔偿, 别买, 不要买, 建议别买, 建议大家别买, 建议不要买, 建议大家不要买, 扣了两次,"
    " 重复扣费",
    ("praise", 2.0): "thank you so much for, thanks so much for, love it, well done, good job, great job, keep up the,"
    " keep it up, kudos,"
    " highly recommend, amazing, awesome, fantastic, excellent, 太棒了, 感谢, 点赞, 好评, 超赞, 表扬, 赞一个,"
    " 继续加油, 完美,"
    " 强烈推荐, 五星好评, 👍, 👏, 🎉",
    ("question", 2.0): "how do i, how can i, how to, what is, where is, where can i, can i, could i, is it possible,"
    " is there, are there, do you, does it, when will, why does, why is, which one, i wonder, wondering if, question*,"
    " i'd like to know, could you tell me, can you tell me, any idea, 请问, 怎么, 如何, 为什么, 能不能, 是否, 有没有,"
    " 是不是,"
    " 可不可以, 什么时候, 哪里, 多少钱, 想问, 咨询, 想咨询, 想了解, 怎样, 会不会, 要不要, 吗,"
    " 麻烦问一下, 麻烦问下, 几点",
}

# What says nothing when it is all there is.
_NOISE = (
    "test, testing, test test, test123, asdf, asdfgh, asdfasdf, qwerty, hello, hi, hey, hello world, foo, foobar,"
    " foo bar,"
    " lorem ipsum, abc, aaa, xxx, n/a, na, none, nil, no comment, no comments, nothing, null, -, ok, lol, haha, ignore,"
    " please ignore, 测试, 测试测试, 你好, 您好, 哈哈, 哈哈哈, 呵呵, 无, 没有, 没什么, 略, 嗯, 哦, 啊, 在吗, 随便,"
    " 不知道, 111, 123,"
    " テスト, こんにちは"
)


# Negation makes no joy of what happened: "it never crashes" says nothing bad, and no more.
_MISHAPS = (
    "crash*, fail*, broken, fails to, failed to, error, errors, glitch*, freeze, lag, laggy, lags, leak*, damaged,"
    " defective,"
    " faulty, scam, fraud, overcharged, double charged, charged twice, charged me twice, ripped off, lost my, lost all,"
    " delay*, 闪退, 崩溃, 报错, 错误, 卡顿, 坏了, 坏的, 失灵, 破损, 漏水, 丢失, 弄丢, 欺骗, 被骗, 骗子, 诈骗, 假货,"
    " 重复扣款, 重复扣费,"
    " 扣了两次, 多扣, 扣错, 褪色, 掉色, 异味"
)
# What is asked for, so that to be without it is the complaint: "no refund", 商家不退款.
_OWED = "refund, money back, cancel my, 退款, 退货, 投诉"

# Other words in German, French or Spanish: almost, a telephone, thin, plain, a bath, read!
_AMBIGUOUS = "fast, handy, fine, simple, bad, lies, rude, solid, stable"
# The same in all of them, and bad in all of them. What is good may be negated by a word that we do not know.
_SHARED = "bug, bugs, crash*, error, terrible, horrible"


def _words(text: str) -> Iterator[str]:
    return (word.strip() for word in text.split(",") if word.strip())


_FALSE_FRIENDS, _BAD_EVERYWHERE = frozenset(_words(_AMBIGUOUS)), frozenset(_words(_SHARED))


def _tongue(word: str) -> int:
    if word in feelings.ELSEWHERE:
        return ELSEWHERE
    if not word.isascii() or word in _BAD_EVERYWHERE or not any(char.isalpha() for char in word):
        return ANY
    return AMBIGUOUS if word in _FALSE_FRIENDS else ENGLISH


def _compile() -> dict[str, Entry]:
    """One entry a word, from all the lists that name it."""
    courtesies = {word: step for step, words in _COURTESIES.items() for word in _words(words)} | dict.fromkeys(
        feelings.COURTESIES, 1.0
    )
    faces = {word: step for step, words in _FACES.items() for word in _words(words)}
    polarity = {word: step for step, words in _POLARITY.items() for word in _words(words)} | courtesies | faces
    roles = (
        dict.fromkeys(_words(_NEGATORS), NEGATES)
        | dict.fromkeys([*_words(_CONTRASTS), _AFTER_A_COMMA], CONTRASTS)
        | dict.fromkeys(courtesies, COURTESY)
        | dict.fromkeys(faces, FACE)
    )
    drawn = (word for word in polarity if not any(char.isalpha() for char in word))
    turned = dict.fromkeys(_words(_MISHAPS), 0.0) | dict.fromkeys([*_words(_OWED), *drawn], 1.0)
    factors = {word: factor for factor, words in _FACTORS.items() for word in _words(words)}
    kinds = {word: kind for kind, words in _KINDS.items() for word in _words(words)}
    every = {
        **polarity,
        **roles,
        **factors,
        **kinds,
        **turned,
        **dict.fromkeys(_words(_NO_NEGATORS)),
        **dict.fromkeys(_words(_NO_CONTRASTS)),
    }
    inner = every.keys() - roles.keys() - factors.keys()
    for word in (*feelings.EMOTIONS, *feelings.CAUSES, *feelings.ALIKE):
        if word not in every:
            inside = _inside(word, inner)
            leans = feelings.POLARITY.get(feelings.EMOTIONS.get(word, ""), 0.0)
            known = polarity.get(inside, 0.0)
            polarity[word] = known if known * leans > 0 or not leans else leans
            if inside in kinds:
                kinds[word] = kinds[inside]
            if inside in turned:
                turned[word] = 0.0  # "I don't want a refund": not even to be without it is a complaint
    for word, emotion in feelings.EMOTIONS.items():
        polarity[word] = polarity.get(word) or feelings.POLARITY[emotion]
    return {
        word: Entry(
            word.removesuffix("*"),
            polarity.get(word, 0.0),
            roles.get(word, WEIGHS if word in factors else 0),
            factors.get(word, 1.0),
            *kinds.get(word, ("", 0.0)),
            feelings.CAUSES[word].step if word in feelings.CAUSES else 0,
            turned.get(word, TURNED),
            _tongue(word),
            feelings.EMOTIONS.get(word, feelings.THANKS if word in courtesies else ""),
            feelings.CAUSES[word].cause if word in feelings.CAUSES else "",
        )
        for word in dict.fromkeys([*every, *polarity])
    }


def _inside(phrase: str, known: Set[str]) -> str:
    """The longest known word within it, for it is covered by the phrase; nothing where there is none."""
    parts = phrase.split() if phrase.isascii() else list(phrase)
    space = " " if phrase.isascii() else ""
    for length in range(len(parts) - 1, 0, -1):
        for start in range(len(parts) - length + 1):
            part = space.join(parts[start : start + length])
            if part in known:
                return part
    return next((f"{parts[-1][:end]}*" for end in range(len(parts[-1]), 3, -1) if f"{parts[-1][:end]}*" in known), "")


LEXICON: Mapping[str, Entry] = _compile()
"""By the word as `matcher.pattern` takes it."""

NOISE = frozenset(_words(_NOISE))
"""The whole of a text that says nothing."""
