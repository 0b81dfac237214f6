"""The words of emotions and of what presses: our own compilation, in English, Chinese, Japanese, Spanish, German, French. ●

Anger wants somebody who takes it in hand, worry a plain word on what happens next, disappointment an amends, confusion an
explanation, delight and thanks a friendly line: so an emotion has a name, and not only a sign. What presses has a cause, for
an outage, a lawyer and a customer who leaves are different people's.

`*` leaves a word's end open. What a phrase here has no polarity or kind for, it takes from the known word inside it
(`lexicons`), which it covers. The words of the last four languages are denied by what stands beside them (`negation`); of
English and Chinese the classifier knows that already.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

ANGER, WORRY, DISAPPOINTMENT, CONFUSION, DELIGHT, THANKS = (
    "anger",
    "worry",
    "disappointment",
    "confusion",
    "delight",
    "thanks",
)
NEGATIVE = (ANGER, WORRY, DISAPPOINTMENT, CONFUSION)
"""Where two weigh the same, the one that costs more to overlook."""
POSITIVE = (DELIGHT, THANKS)

OUTAGE, SAFETY, SECURITY, LEGAL, CHURN, REFUND, VIP = "outage", "safety", "security", "legal", "churn", "refund", "vip"
BLOCKED, WAITING, ASKED = "blocked", "waiting", "asked"

PRESSES: Mapping[str, str] = {
    OUTAGE: "an outage",
    SAFETY: "a danger",
    SECURITY: "a breach",
    LEGAL: "legal steps",
    CHURN: "a customer who leaves",
    REFUND: "money that is wanted back",
    VIP: "a customer of a key tier",
    BLOCKED: "work that stands still",
    WAITING: "a long wait",
    ASKED: "haste is asked for",
}
"""What each is, within a sentence."""


class Cause(NamedTuple):
    cause: str
    step: int
    """2: urgent, 1: high."""


_EMOTIONS: Mapping[str, str] = {
    ANGER: """
        angry, angrily, furious, outrage*, outrageous, livid, infuriat*, irate, enraged, fuming, mad at, pissed, pissed off,
        fed up, sick of, sick and tired, hate, hated, hates, unacceptable, disgrace*, disgust*, disgusting, ridiculous, rude, scam, ripped off,
        how dare you, shame on you, absurd, annoyed, annoying, frustrat*, last straw, had enough, lost my patience, insult*,
        生气, 愤怒, 气愤, 气死, 气人, 气炸, 恼火, 火大, 发火, 可恶, 可恨, 忍无可忍, 恶心, 恶心死, 讨厌, 骗子, 诈骗, 坑人, 黑店,
        岂有此理, 过分, 太过分, 欺人太甚, 受够了, 无耻, 不要脸, 态度恶劣, 态度差, 强烈不满, 烦死, 好气, 😡, 😠, 😤, 🤬, 🖕
    """,
    WORRY: """
        worried, worry, worrying, worries, concerned, concerning, anxious, anxiety, nervous, afraid, scared, scary, frightened,
        uneasy, panic*, stressed, alarmed, alarming, is it safe, am i safe, at risk,
        担心, 担忧, 忧虑, 焦虑, 不安, 害怕, 恐慌, 不放心, 着急, 提心吊胆, 心慌, 怕丢, 会不会丢, 安全吗, 😰, 😨, 😟, 😧
    """,
    DISAPPOINTMENT: """
        disappoint*, let down, letdown, expected better, expected more, had hoped, regret buying, regret purchasing,
        regret choosing, unhappy, dissatisfied, unsatisfied, not what i expected, not worth, underwhelm*, downgrade for,
        waste, wasted, not as described, not as advertised, sadly, saddened,
        失望, 极其失望, 非常失望, 好失望, 遗憾, 可惜, 后悔, 不满意, 不满, 心寒, 寒心, 不如预期, 不值, 名不副实, 货不对板, 与描述不符,
        大失所望, 伤心, 不过如此, 💔, 😞, 😔
    """,
    CONFUSION: """
        confus*, puzzled, puzzling, baffl*, perplex*, bewilder*, don't understand, do not understand, dont understand,
        didn't understand, can't understand, cannot understand, can't figure out, cannot figure out, cant figure out,
        couldn't figure out, makes no sense, doesn't make sense, does not make sense, unclear, no idea how, no idea what,
        no idea why, at a loss, what does it mean, what does this mean, not sure how, not sure what,
        困惑, 疑惑, 迷惑, 糊涂, 一头雾水, 看不懂, 搞不懂, 弄不懂, 看不明白, 搞不明白, 弄不明白, 不明白, 不理解, 搞不清, 弄不清, 搞不清楚, 弄不清楚,
        不知道怎么, 不知道如何, 不知道该, 摸不着头脑, 莫名其妙, 😕, 🤔
    """,
    DELIGHT: """
        delighted, delight, delightful, thrilled, love, loved, loves, loving, love it, absolutely love, happy, so happy,
        very happy, happy with, excited, overjoyed, amazing, awesome, fantastic, wonderful, impressed, pleased, glad, thrilling,
        couldn't be happier, could not be happier, best ever, game changer, life saver, lifesaver, enjoy*,
        开心, 高兴, 惊喜, 惊艳, 太棒了, 非常棒, 超赞, 太好了, 太好用了, 喜欢, 爱了, 满意, 完美, 爽, 快乐, 欣喜,
        😍, 🥰, 🤩, 😊, 😀, 😃, 😄, 😁, 🎉, 💖, 💕
    """,
    THANKS: """
        grateful, thankful, gratitude, thank you so much for, thanks so much for, thanks a lot for, thanks for, thank you for,
        can't thank you enough, kudos, 感激, 感谢, 非常感谢, 万分感谢, 十分感谢, 表扬
    """,
}
_OTHERS: Mapping[str, str] = {
    ANGER: """
        怒って, 怒り, 激怒, 腹が立, 腹立た, 頭にき, 頭にく, むかつ, ムカつ, イライラ, いらいら, 許せな, 許せませ, ふざけ, 最悪, ひどすぎ,
        酷すぎ, 憤り, うんざり, 信じられない対応, 失礼な,
        enojad*, enfadad*, furios*, indignad*, indignante, harto, harta, rabia, cabread*, molesto, molesta, inaceptable, verguenza,
        una estafa, no hay derecho, es el colmo, estoy hasta,
        wutend, verargert, argerlich, stinksauer, sauer auf, bin sauer, zornig, emport, frechheit, unverschamt*, unmoglich von,
        inakzeptabel, unzumutbar, genervt, nervt, reicht mir, schnauze voll,
        en colere, furieux, furieuse, enerve, enervee, enervant, fache, fachee, scandaleux, scandale, inadmissible, inacceptable,
        honteux, ras le bol, j'en ai marre, marre de, arnaque, indigne, exaspere*
    """,
    WORRY: """
        心配, 不安, 怖い, 恐い, 怖く, 気がかり, 焦って, 焦り,
        preocupad*, preocupa, me preocupa, preocupacion, preocupante, inquiet*, tengo miedo, me da miedo, ansiedad, nervioso, nerviosa, angustia*,
        besorgt, sorge, sorgen, beunruhigt, beunruhigend, angst, befurchte, verunsichert,
        inquiete, inquiet, inquietude, inquietant, preoccupe*, peur, angoisse*, anxieux, anxieuse, soucieux
    """,
    DISAPPOINTMENT: """
        がっかり, ガッカリ, 残念, 失望, 期待外れ, 期待はずれ, 後悔, 不満, 裏切ら, 幻滅,
        decepcion*, decepcionante, desilusion*, defraudad*, esperaba mas, esperaba algo mejor, me arrepiento, insatisfecho, insatisfecha,
        descontent*, una lastima,
        enttausch*, unzufrieden, bereue, mehr erwartet, besseres erwartet, schade,
        decu, decue, decus, decues, quelle deception, une deception, ma deception, decevant, decevante, desappointe*, mecontent*, insatisfait*, je regrette, dommage,
        m'attendais a mieux
    """,
    CONFUSION: """
        混乱, 戸惑, わからな, 分からな, わかりませ, 分かりませ, わかりにく, 分かりにく, わかりづら, 分かりづら, 理解できな, 理解できませ,
        意味不明, 困惑, 紛らわし,
        confundid*, confuso, confusa, confusion, no entiendo, no entendi, no comprendo, no se como, no se que hacer,
        no me queda claro, no esta claro, desorientad*, incomprensible,
        verwirr*, verstehe nicht, verstehe ich nicht, nicht verstandlich, unverstandlich, unklar, irrefuhrend, keine ahnung wie,
        weiss nicht wie, ratlos, werde nicht schlau, komme nicht klar,
        je ne comprends pas, comprends pas, comprends rien, pas clair, pas claire, incomprehensible, confus, confuse, deroutant*,
        je suis perdu, je suis perdue, perplexe, je ne sais pas comment, trompeur, trompeuse
    """,
    DELIGHT: """
        嬉しい, うれしい, 嬉しく, うれしく, 大好き, 最高, 感動, 素晴らし, すばらし, 大満足, 満足, 気に入って, 気に入りまし, 楽しい, 楽しく,
        encantad*, me encanta, me encanto, me encantan, feliz, felices, contento, contenta, satisfecho, satisfecha, maravillos*, genial, fantastico,
        fantastica, estupend*, increiblemente bien, alegr*,
        begeistert, glucklich, zufrieden, freue mich, freut mich, liebe es, liebe diese*, wunderbar, grossartig, fantastisch,
        hervorragend, ausgezeichnet, spitze, erfreut,
        ravi, ravie, ravis, enchante, enchantee, heureux, heureuse, suis content, tres content, contente, satisfait, satisfaite, j'adore, adore,
        geniale, formidable, magnifique, fantastique, enthousiaste
    """,
    THANKS: """
        感謝し, 感謝い, 大変助か, 本当に助か,
        gracias por, muchas gracias por, agradecid*, agradezco, agradecemos,
        danke fur, vielen dank fur, herzlichen dank fur, dankbar, bedanke mich, bedanken,
        merci pour, merci beaucoup pour, reconnaissant*, je remercie, je vous remercie, remercie
    """,
}
_COURTESIES = """
    gracias, muchas gracias, mil gracias, gracias de antemano, gracias por adelantado, gracias por su ayuda, gracias por tu ayuda,
    gracias por su atencion, gracias por su respuesta,
    danke, danke schon, vielen dank, besten dank, herzlichen dank, danke im voraus, vielen dank im voraus, danke fur ihre hilfe,
    vielen dank fur ihre hilfe, danke fur die hilfe,
    merci, merci beaucoup, merci d'avance, merci par avance, merci pour votre aide, merci de votre aide, merci pour votre reponse,
    merci de votre reponse, mille mercis,
    ありがとう, ありがとうございます, ありがとうございました, どうもありがとうございます, 有難うございます, 助かりました
"""
_ALIKE = """
    cancel my order, cancel my orders, cancel my booking, cancel my reservation, cancel my appointment, cancel my last order
"""
POLARITY: Mapping[str, float] = {
    ANGER: -2.0,
    WORRY: -1.0,
    DISAPPOINTMENT: -2.0,
    CONFUSION: -1.0,
    DELIGHT: 2.0,
    THANKS: 1.0,
}
"""Of a word that the lexicon does not know otherwise."""

_CAUSES: Mapping[Cause, str] = {
    Cause(OUTAGE, 2): """
        outage, site is down, website is down, app is down, server is down, servers are down, is down for, production is down,
        system is down, system down, everything is down, service is down, services are down, completely down, down again,
        全部瘫痪, 瘫痪, 宕机, 全线崩溃, 服务中断, 系统挂了, 服务器挂了, 网站挂了, 全都打不开
    """,
    Cause(SAFETY, 2): """
        emergency, safety hazard, safety issue, fire hazard, caught fire, smoke coming, exploded, explosion,
        electric shock, got burned, burnt my, injured, injury, injuries, ended up in hospital, poisoning, allergic reaction, choking hazard,
        life threatening, life-threatening, suicide, kill myself,
        安全隐患, 受伤, 生命危险, 着火, 起火, 冒烟, 爆炸, 触电, 漏电, 烫伤, 割伤, 中毒, 过敏反应, 住院, 报警, 自杀
    """,
    Cause(SAFETY, 1): "overheat*, dangerous, threatened, 危险",
    Cause(SECURITY, 2): """
        data loss, data breach, security breach, hacked, hacker, security vulnerability, personal data leaked, leaked my data,
        account was stolen, identity theft, phishing, 数据丢失, 数据泄露, 信息泄露, 隐私泄露, 被盗, 安全漏洞, 被黑
    """,
    Cause(SECURITY, 1): "unauthorized charge, unauthorised charge, unauthorized access, 盗刷",
    Cause(LEGAL, 2): """
        lawsuit, lawyer, lawyers, attorney, legal action, legal steps, sue you, will sue, take you to court, small claims court,
        gdpr complaint, 律师, 律师函, 起诉, 法院, 告你们, 法律途径, 走法律程序
    """,
    Cause(LEGAL, 1): """
        ombudsman, trading standards, consumer protection, better business bureau, report you to, 消协, 12315, 消费者协会, 工商局, 曝光你们,
        维权
    """,
    Cause(CHURN, 1): """
        cancel my, cancel our, cancelling my, canceling my, cancelling our, canceling our, close my account, delete my account,
        closing my account, switching to, switch to another, moving to another, going elsewhere, go elsewhere,
        take my business elsewhere, looking for alternatives, looking at alternatives, going to your competitor, to a competitor,
        won't renew, will not renew, not going to renew, not renewing, lose me as a customer, lose us as a customer,
        losing me as a customer, last time i buy, uninstalling, 取消订阅, 不再续费, 不续费了, 不续约, 不会续费, 换别家, 换一家, 去别家,
        改用别的, 转投, 注销账号, 注销账户, 卸载了, 再也不用, 再也不买, 以后不用了
    """,
    Cause(REFUND, 1): """
        charged twice, charged me twice, double charged, overcharged, want a refund, want my refund, want a full refund,
        demand a refund, demand a full refund, request a refund, requesting a refund, need a refund, waiting for my refund,
        waiting for a refund, where is my refund, refund me, refund my, want my money back, give me my money back,
        give my money back, need my money back, chargeback, 重复扣款, 重复扣费, 扣了两次, 多扣,
        要求退款, 我要退款, 申请退款, 给我退款, 请退款, 必须退款, 还不退款, 不给退款, 退我钱, 把钱退, 退钱, 还钱
    """,
    Cause(BLOCKED, 2): "losing money, losing customers",
    Cause(BLOCKED, 1): """
        blocked, blocking us, blocker, cannot work, can't work, all users, all our users, every user,
        影响业务, 影响工作, 无法工作
    """,
    Cause(WAITING, 1): """
        escalate, escalated, for days, for weeks, for months, third time, 催, 好几天, 很多天, 多次反映, 多次投诉, 一直没解决
    """,
    Cause(ASKED, 2): "urgent, urgently, asap, a.s.a.p, 紧急, 加急, 十万火急, 火急, 急急, 急死, 特急",
    Cause(ASKED, 1): """
        as soon as possible, immediately, right away, right now, deadline, critical, 严重, 尽快, 马上, 立刻, 立即, 着急, 急需, 麻烦尽快, 希望能尽快, 希望尽快
    """,
}
_OTHER_CAUSES: Mapping[Cause, str] = {
    Cause(OUTAGE, 2): """
        サーバーが落ち, システムが落ち, サイトが落ち, サービスが停止, システム障害, サーバーダウン, 全く繋がらな, 全くつながらな,
        esta caido, esta caida, servicio caido, caida del servicio, todo caido, sin servicio,
        totalausfall, ausfall, serverausfall, system steht, ausgefallen, komplett down, seite ist down,
        panne generale, est en panne, serveur en panne, hors service, service interrompu, site est inaccessible
    """,
    Cause(SAFETY, 2): """
        火災, 発火, 発煙, 煙が出, 爆発, 感電, 怪我, けがをし, 火傷, やけど, 命に関わ, 食中毒, 救急,
        incendio, se incendio, sale humo, explosion, exploto, descarga electrica, herido, herida, lesion*, quemadura*,
        emergencia, intoxicacion, riesgo de vida,
        lebensgefahr, brandgefahr, feuer gefangen, rauchentwicklung, explodiert, stromschlag, verletzt, verletzung*,
        notfall, vergiftung,
        danger de mort, incendie, pris feu, sort de la fumee, explose, electrocut*, blesse, blessee, blessure*, brulure*,
        urgence vitale, intoxication
    """,
    Cause(SAFETY, 1): "危険です, peligroso, peligrosa, gefahrlich, dangereux, dangereuse",
    Cause(SECURITY, 2): """
        情報漏洩, 情報漏えい, 個人情報が漏, 乗っ取ら, 不正アクセス, ハッキング, データが消え,
        hackeado, hackeada, hackearon, robo de datos, filtracion de datos, perdida de datos, cuenta robada, suplantacion,
        gehackt, datenleck, datenverlust, datenpanne, sicherheitslucke, identitatsdiebstahl,
        pirate mon compte, compte pirate, ete pirate, piratage, fuite de donnees, perte de donnees, faille de securite
    """,
    Cause(SECURITY, 1): """
        不正利用, 身に覚えのない請求, cargo no autorizado, cargos no autorizados, cobro no autorizado, unberechtigte abbuchung,
        nicht autorisierte abbuchung, prelevement non autorise, debit non autorise
    """,
    Cause(LEGAL, 2): """
        弁護士, 訴訟, 訴えます, 裁判, 法的措置, 法的手段,
        abogado, abogada, demanda judicial, acciones legales, demandarlos, denunciarlos, tribunales,
        anwalt, rechtsanwalt, klage einreichen, rechtliche schritte, verklagen, gerichtlich, strafanzeige,
        avocat, poursuites, action en justice, porter plainte, tribunal, mise en demeure
    """,
    Cause(LEGAL, 1): """
        消費者センター, 消費生活センター, oficina del consumidor, proteccion al consumidor, verbraucherschutz, verbraucherzentrale,
        repression des fraudes, que choisir, 60 millions de consommateurs
    """,
    Cause(CHURN, 1): """
        解約, 退会, 乗り換え, 他社に, 二度と買, 二度と使, 二度と利用, もう使いませ, もう買いませ,
        darme de baja, dar de baja, cancelar mi suscripcion, cancelar mi cuenta, cancelar el contrato, cambiar de compania,
        me cambio a, irme a la competencia, nunca mas compr*, no volvere a comprar,
        kundigen, kundige, kundigung, wechsle zu, wechseln zu, zur konkurrenz, konto loschen, nie wieder, anbieter wechseln,
        resilier, resiliation, je resilie, changer de fournisseur, a la concurrence, chez un concurrent, supprimer mon compte,
        fermer mon compte, annuler mon abonnement, plus jamais
    """,
    Cause(REFUND, 1): """
        返金して, 返金を求, 返金希望, 返金をお願い, 返金お願い, 二重請求, 二重に請求, 二重引き落とし, 金を返,
        quiero un reembolso, exijo un reembolso, solicito un reembolso, quiero mi reembolso, quiero mi dinero, devuelvanme,
        devolucion de mi dinero, devuelvan mi dinero, cobraron dos veces, cobrado dos veces, doble cobro, cobro doble,
        geld zuruck, ruckerstattung verlang*, verlange eine ruckerstattung, doppelt abgebucht, doppelt berechnet, zu viel abgebucht,
        me rembourser, rembourser moi, remboursez-moi, remboursez moi, exige un remboursement, demande un remboursement,
        demande le remboursement, veux etre rembourse*, rendez-moi mon argent, recuperer mon argent, debite deux fois, preleve deux fois, double prelevement
    """,
    Cause(BLOCKED, 1): """
        仕事にならな, 業務に支障, 業務が止ま, 仕事が止ま, no puedo trabajar, no podemos trabajar, bloqueados,
        kann nicht arbeiten, konnen nicht arbeiten, nicht arbeitsfahig, blockiert uns,
        ne peux pas travailler, ne pouvons pas travailler, peux plus travailler, bloques, nous bloque
    """,
    Cause(WAITING, 1): """
        何度も連絡, 何度も問い合わせ, 何日も, 何週間も, ずっと待って, llevo dias, llevo semanas, llevamos dias, desde hace semanas, por tercera vez,
        seit tagen, seit wochen, seit monaten, zum dritten mal, mehrfach gemeldet,
        depuis des jours, depuis des semaines, depuis plusieurs jours, depuis plusieurs semaines, troisieme fois
    """,
    Cause(ASKED, 2): """
        緊急, 至急, 大至急, urgente, urgentemente, con urgencia, dringend, dringende, dringender, eilt, en urgence, d'urgence
    """,
    Cause(ASKED, 1): """
        早急に, 急いで, できるだけ早く, なるべく早く, すぐに対応, de inmediato, inmediatamente, lo antes posible, cuanto antes,
        sofort, schnellstmoglich, so schnell wie moglich, umgehend, baldmoglichst, zeitnah,
        des que possible, au plus vite, dans les plus brefs delais, immediatement, rapidement svp
    """,
}


def _words(text: str) -> Iterator[str]:
    return (word for part in text.split(",") if (word := " ".join(part.split())))


def _by_word(*lists: Mapping[str, str]) -> dict[str, str]:
    return {word: name for one in lists for name, text in one.items() for word in _words(text)}


ELSEWHERE = frozenset(
    word for text in (*_OTHERS.values(), *_OTHER_CAUSES.values(), _COURTESIES) for word in _words(text)
)
"""Japanese, Spanish, German or French: read in a text of any language, and denied by what stands beside them."""
EMOTIONS: Mapping[str, str] = {**_by_word(_OTHERS), **_by_word(_EMOTIONS)}
CAUSES: Mapping[str, Cause] = {
    word: cause for lists in (_OTHER_CAUSES, _CAUSES) for cause, text in lists.items() for word in _words(text)
}
COURTESIES = tuple(_words(_COURTESIES))
"""By themselves, under a request, or under a complaint (`lexicons.COURTESY`): thanks where they are all there is."""
ALIKE = tuple(_words(_ALIKE))
"""What is no cause although a cause stands inside it: who cancels an order stays a customer."""
