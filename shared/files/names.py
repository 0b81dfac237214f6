"""What people call the columns of their files, as data. Pure.

English and Chinese, with some Japanese, Spanish and German. A name is compared folded (`folded`), so that `E-Mail`,
`e_mail` and `Ｅ ｍａｉｌ` are one. `NAMES` must be the whole header; `PHRASES` may stand anywhere in it: surveys write their
question there.
"""

import re
import unicodedata

EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\"]+")


def folded(name: str) -> str:
    """Lower case, one width, no accents, letters and digits only."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name)).casefold()
    # The voiced marks of kana are no accents: without them it is another letter.
    kept = "".join(c for c in plain if not "\u0300" <= c <= "\u036f")
    return "".join(c for c in unicodedata.normalize("NFC", kept) if c.isalnum())


def _all(text: str) -> frozenset[str]:
    return frozenset(folded(name) for name in text.split(","))


NAMES: dict[str, frozenset[str]] = {
    "text": _all(
        "text, comment, comments, feedback, review, review text, review body, body, message, content, description,"
        " verbatim, answer, response, notes, opinion, suggestion, suggestions, remark, remarks, feedback text,"
        " customer comment, customer feedback, free text, open text, complaint,"
        " 评论, 评论内容, 评价, 评价内容, 内容, 反馈, 反馈内容, 客户反馈, 用户反馈, 意见, 建议, 意见建议, 意见与建议, 意见和建议,"
        " 意见反馈, 留言, 留言内容, 描述, 问题描述, 详细描述, 正文, 原文, 文本, 投诉内容, 诉求内容, 工单内容, 说明,"
        " 評論, 評論內容, 評價, 評價內容, 內容, 意見, 意見回饋, 留言內容, 描述內容, 客戶回饋,"
        " コメント, 本文, 感想, ご意見, ご意見ご要望, ご感想, レビュー, レビュー本文, 口コミ, 自由記述, 自由回答,"
        " お問い合わせ内容, 問い合わせ内容, フィードバック, 要望,"
        " comentario, comentarios, opinión, opiniones, reseña, texto, mensaje, descripción, sugerencia, sugerencias, queja,"
        " Kommentar, Kommentare, Bewertungstext, Rezension, Nachricht, Beschreibung, Anmerkung, Anmerkungen, Freitext,"
        " Rückmeldung, Meinung, Beschwerde"
    ),
    "title": _all(
        "title, subject, headline, summary, review title, 标题, 主题, 評論標題, 標題, 題名, 件名, タイトル, título, asunto,"
        " Titel, Betreff, Überschrift"
    ),
    "external_id": _all(
        "id, external id, review id, response id, ticket id, ticket number, ticket no, feedback id, record id, submission id,"
        " comment id, case id, case number, answer id, message id, conversation id, uuid, guid, key, token, no, number,"
        " 编号, 序号, 单号, 工单号, 工单编号, 反馈编号, 反馈id, 评论id, 评价id, 评论编号, 记录编号, 答卷编号, 答题序号, 主键, 流水号,"
        " 編號, 番号, 管理番号, 受付番号, 回答id, 回答番号, 問い合わせ番号, レビューid,"
        " identificador, número, número de ticket, folio, Nummer, Nr, Kennung, Vorgangsnummer, Ticketnummer"
    ),
    "occurred_at": _all(
        "occurred at, date, time, datetime, date time, timestamp, created, created at, created on, created date, create time,"
        " creation date, date created, submitted, submitted at, submit date, submit time, submission date, submission time,"
        " review date, response date, feedback date, comment date, posted, posted at, post date, published at, received at,"
        " date submitted, end date, completed at, recorded date,"
        " 日期, 时间, 创建时间, 创建日期, 提交时间, 提交日期, 反馈时间, 反馈日期, 评论时间, 评价时间, 评价日期, 评论日期, 发生时间,"
        " 填写时间, 提交答卷时间, 答题时间, 发布时间, 发表时间, 留言时间, 投诉时间, 受理时间,"
        " 時間, 建立時間, 提交時間, 評論時間, 日付, 日時, 作成日, 作成日時, 投稿日, 投稿日時, 回答日, 回答日時, 受付日, 受付日時, 登録日,"
        " fecha, fecha y hora, fecha de creación, fecha de envío, Datum, Zeitpunkt, Zeitstempel, Erstellt, Erstellt am,"
        " Erstellungsdatum, Eingegangen am, Eingangsdatum, Datum Uhrzeit"
    ),
    "language": _all("language, lang, locale, 语言, 語言, 言語, idioma, lengua, Sprache"),
    "customer.email": _all(
        "email, e-mail, mail, email address, e-mail address, customer email, contact email, user email, respondent email,"
        " 邮箱, 电子邮件, 电子邮箱, 电邮, 邮件, 邮箱地址, 邮件地址, 客户邮箱, 用户邮箱, 联系邮箱, 郵箱, 電子郵件, 電郵, メール,"
        " メールアドレス, eメール, 電子メール, correo, correo electrónico, E-Mail-Adresse, Mailadresse"
    ),
    "customer.id": _all(
        "customer id, user id, client id, member id, contact id, respondent id, visitor id, customer, customer no,"
        " customer number, customer code, membership number,"
        " 客户编号, 客户id, 客户号, 客户代码, 用户编号, 用户id, 会员号, 会员编号, 会员id, 客戶編號, 用戶id, 会員番号, 会員id, 顧客番号,"
        " 顧客id, ユーザーid, お客様番号, id de cliente, cliente id, número de cliente, Kundennummer, Kunden-ID, Kundennr"
    ),
    "customer.name": _all(
        "name, customer name, full name, user name, username, author, author name, reviewer, reviewer name, nickname,"
        " contact, contact name, respondent, display name,"
        " 姓名, 客户, 客户姓名, 客户名称, 客户名, 用户, 用户名, 用户名称, 用户昵称, 昵称, 作者, 联系人, 评论人, 评价人, 名字, 称呼,"
        " 客戶姓名, 暱稱, 氏名, 名前, お名前, 顧客名, お客様名, 投稿者, 投稿者名, ユーザー名, ニックネーム,"
        " nombre, nombre completo, autor, cliente, nombre del cliente, Kunde, Kundenname, Verfasser, Autor, Vor- und Nachname"
    ),
    "customer.tier": _all(
        "tier, customer tier, plan, segment, membership, membership level, subscription, 等级, 会员等级, 客户等级, 客户级别,"
        " 套餐, 版本类型, 会員ランク, プラン, 契約プラン, nivel, Tarif, Stufe, Kundenstufe"
    ),
    "customer.account_id": _all(
        "account, account id, company, company name, organisation, organization, account name, 公司, 公司名称, 企业, 企业名称,"
        " 单位, 单位名称, 公司名稱, 会社, 会社名, 企業名, empresa, compañía, Firma, Unternehmen"
    ),
    "customer.role": _all("role, job title, position, 职位, 职务, 角色, 役職, 職種, cargo, puesto, Rolle, Funktion"),
    "channel": _all("channel, medium, feedback channel, 渠道, 反馈渠道, 来源渠道, 管道, チャネル, 経路, canal, Kanal"),
    "source": _all(
        "source, platform, store, 来源, 平台, 数据来源, 來源, ソース, 媒体, fuente, plataforma, Quelle, Plattform"
    ),
    "touchpoint": _all("touchpoint, touch point, 触点, 接触点, タッチポイント, Kontaktpunkt"),
    "lifecycle_stage": _all("lifecycle stage, stage, journey stage, 阶段, 生命周期, ステージ, etapa, Phase"),
    "solicited": _all("solicited"),
    "url": _all(
        "url, link, permalink, web address, review url, 链接, 网址, 連結, 網址, リンク, enlace, vínculo, Webadresse"
    ),
    "score.nps": _all(
        "nps, nps score, nps rating, net promoter score, likelihood to recommend, ltr, 推荐意愿, 推荐度, 推荐指数, 推荐分,"
        " 净推荐值, nps评分, nps得分, 推薦度, 推奨度, 推奨意向, おすすめ度, probabilidad de recomendación, Weiterempfehlung,"
        " Weiterempfehlungsbereitschaft"
    ),
    "score.csat": _all(
        "csat, csat score, satisfaction, satisfaction score, satisfaction rating, overall satisfaction, 满意度, 满意度评分,"
        " 满意度得分, 总体满意度, 整体满意度, 滿意度, 満足度, 総合満足度, satisfacción, Zufriedenheit, Gesamtzufriedenheit"
    ),
    "score.ces": _all(
        "ces, ces score, customer effort score, effort, effort score, 费力度, 费力指数, 省力度, 労力, esfuerzo, Aufwand"
    ),
    "score.stars": _all(
        "stars, star, rating, ratings, star rating, score, review score, review rating, grade, 评分, 星级, 打分, 评星, 得分, 分数,"
        " 评价星级, 星数, 評分, 星級, 評価, 星の数, 点数, 総合評価, calificación, puntuación, estrellas, valoración, Sterne, Bewertung"
    ),
    "score.hmd": _all("hmd, happy, were you happy, happiness, 是否满意, 满意吗, 是否开心, 満足しましたか"),
}

PHRASES: dict[str, frozenset[str]] = {
    "score.nps": _all(
        "how likely are you to recommend, would you recommend, you would recommend, likely to recommend,"
        " likelihood to recommend, net promoter,"
        " 推荐给, 推薦給, 愿意推荐, 勧める可能性, すすめる可能性, 薦めたい, 勧めたい, おすすめしたい, recomendaría, recomiende,"
        " probable que recomiende, weiterempfehlen"
    ),
    "score.csat": _all(
        "how satisfied, overall satisfaction, satisfied are you, 满意程度, 是否满意, 有多满意, 满意度, 滿意程度, 満足度,"
        " どの程度満足, qué tan satisfecho, satisfecho está, wie zufrieden"
    ),
    "score.ces": _all(
        "how easy, made it easy, effort did you, 是否容易, 有多容易, 容易程度, 费力, どのくらい簡単, qué tan fácil, wie einfach, wie leicht"
    ),
    "score.hmd": _all("were you happy"),
    "text": _all(
        "comment, feedback, what did you like, what could we, what can we, what should we, how can we improve, could we improve,"
        " tell us, reason for your, why did you, please explain, anything else, in your own words, suggest, describe,"
        " 您的意见, 您的建议, 意见或建议, 意见和建议, 请说明, 请描述, 请填写, 改进, 原因, 为什么, 建议, 理由, ご意見, ご感想, 教えてください,"
        " お聞かせ, por qué, comentario, sugerencia, cuéntenos, warum, grund für, verbessern, anmerkung, kommentar, rückmeldung"
    ),
    "occurred_at": _all("submitted on, 提交时间, 填写时间, created at, erstellt am, 回答日時"),
    "customer.email": _all("e-mail address, email address, 电子邮箱, メールアドレス, correo electrónico"),
}

_KNOWN = frozenset().union(*NAMES.values())


def is_known(name: str) -> bool:
    """Whether people call a column that."""
    return folded(name) in _KNOWN
