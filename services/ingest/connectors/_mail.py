"""Mail → what its writer said in it, who they are, and which thread it belongs to. Pure.

A mail is a delivery by its `Message-ID`. Its thread (`attributes.thread_id`) is the mail that opened it: the first of
its `References`, else what it answers, else itself. What nobody wrote is ignored, with the reason: answers of
machines, out-of-office notices, bounces, receipts, newsletters. A group address of ours (a Google Group, say) makes
every customer's mail look like a list's: `options: {our_lists: [support.acme.com]}` names it by its `List-Id`.
`options: {staff: ["@acme.com"]}` names whose words are no customer's.

**What was said** is what is left without the mail that it answers, without the signature and without `Sent from my
phone`: quotations are known by their `>`, by the line that clients write above them in many languages, by Outlook's
block of `From: Sent: To: Subject:` and its like, and in HTML by `blockquote`. Answers between and below the quoted
lines stay. A forwarded mail is kept whole: it is what its sender wants read. What was taken off stands in
`attributes.trimmed`, its first 10,000 characters; where nothing would be left the whole stays the text.

The ways of clients were learnt from GitHub's email_reply_parser, Discourse's email_reply_trimmer and receiver,
mailgun's talon, quotequail and Zulip's mirror; the code and its patterns are our own. One pass over the lines, and
patterns that look at no more than a line and a bit: a mail of a megabyte of `>` must not hold anybody up.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.utils import formataddr, getaddresses
from encodings.aliases import aliases
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable
from services.ingest.connectors._fields import digest_of, mail_time, media_sign, present, text_of, unknown_options
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source
from shared.events.characters import is_visible

LINES_MAX = 5_000
"""Of a mail that are looked at; what comes behind them is kept as it is."""
HEADINGS_MAX = 60
"""Of lines that may stand above a quotation."""
HEADER_MAX_CHARS = 8_000
TRIMMED_MAX_CHARS = 10_000
PARTS_MAX = 1_000
LEVELS_MAX = 20
"""Of parts within parts."""
MIME_LINES_MAX = 250_000
PART_HEADER_MAX_CHARS = 1_000
CHARSET_MAX_CHARS = 60

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, whoever relayed it."""

    headers: Headers
    text: str | None = None
    html: str | None = None
    attachments: int = 0
    envelope_from: str | None = None
    """Empty for a bounce; None where the relay does not tell."""
    recipient: str | None = None
    """Ours: the address that it came to."""
    named: str | None = None
    """What the relay calls it, for a mail without a Message-ID."""

    def header(self, name: str) -> str:
        """The first of that name, in lower case; empty when there is none."""
        return _decoded(next(self._all(name), ""))

    def addresses(self, name: str) -> list[tuple[str, str]]:
        """Names and addresses. What is encoded is read afterwards: there may be a comma in it."""
        try:
            found = getaddresses(list(self._all(name)))
        except RecursionError:  # comments within comments: nobody's address
            return []
        return [(_decoded(said), address) for said, address in found if "@" in address]

    def _all(self, name: str) -> Iterator[str]:
        return (value[:HEADER_MAX_CHARS] for one, value in self.headers if one.lower() == name)


def check(source: Source) -> list[str]:
    issues = unknown_options(source, "our_lists", "staff")
    for name, example in (("our_lists", "support.acme.com, as the List-Id has it"), ("staff", '"@acme.com"')):
        given = source.options.get(name, [])
        if not (isinstance(given, list) and all(text_of(one) for one in given)):
            issues.append(f"options: {name} must be a list of words such as {example}")
    return issues


def drafts_of(mail: Mail, source: Source) -> Sequence[Draft] | Ignored:
    our_list = _list_of(mail) in {str(one).lower() for one in source.options.get("our_lists", [])}
    whole = mail.text if is_visible(mail.text) else _text_of_html(mail.html)
    reason = _nobody_wrote_it(mail, our_list, whole)
    if reason:
        return Ignored(reason)
    name, address = _writer(mail, our_list)
    if _is_staff(address, source):
        return Ignored("a colleague's mail")
    subject = _without_prefixes(mail.header("subject"))
    said, trimmed = said_in(whole or "", forwarded=_FORWARDED.match(mail.header("subject")) is not None)
    text = said or subject or (media_sign("document") if mail.attachments else None)
    if not text:
        return Ignored("a mail without words")
    message_id = _id_in(mail.header("message-id"))
    thread = [*_ids_in(mail.header("references")), *_ids_in(mail.header("in-reply-to"))]
    body = {
        "text": text,
        "title": subject,
        "channel": "email",
        "solicited": None if thread else False,
        "customer": present({"email": address, "name": name}),
        "occurred_at": mail_time(mail.header("date")),
        "attributes": present(
            {
                "message_id": message_id,
                "thread_id": thread[0] if thread else message_id,
                "in_reply_to": next(iter(_ids_in(mail.header("in-reply-to"))), None),
                "to": mail.recipient or _first(mail, "to")[1] or None,
                "attachments": mail.attachments or None,
                "trimmed": trimmed[:TRIMMED_MAX_CHARS] or None,
            }
        ),
    }
    which = message_id or mail.named or digest_of(f"{address}\0{mail.header('date')}\0{subject}\0{whole}")
    return [Draft(f"mail/{which}", present(body))]


def _without_prefixes(subject: str) -> str | None:
    """Without `Re:` and its like at the beginning: "Software: slow" ends in one, too."""
    found = _PREFIXES.match(subject)
    return text_of(subject[found.end() :] if found else subject)


# ── who, and whether anybody at all ──────────────────────────────────────────────────────────────

_AUTOMATIC_HEADERS = (
    "x-autoreply",
    "x-autorespond",
    "x-auto-reply",
    "x-autogenerated",
    "x-vacation",
    "x-autoresponder",
)
_BULK = frozenset({"bulk", "junk", "auto_reply", "auto-reply"})
_DAEMON = re.compile(r"(mailer-?_?daemon|post-?_?master)(@|\Z)", re.IGNORECASE)
_NO_REPLY = re.compile(r"(no|do-?_?not)[-_.]?reply|notifications?@|wordpress@|forms?@", re.IGNORECASE)
_REPORT = re.compile(r"multipart/report|report-type|message/(delivery-status|disposition-notification)", re.IGNORECASE)
_AUTOMATIC_SUBJECTS = re.compile(
    r"\s*((automatic|auto)[ -]?(reply|response)|autoreply|out of (the )?office|on (vacation|leave)"
    r"|自动(回复|答复)|自動(回覆|回復|返信|応答)|不在通知|外出(自动回复|通知)"
    r"|automatische antwort|abwesenheitsnotiz|abwesend"
    r"|réponse automatique|absence du bureau|respuesta automática|fuera de (la )?oficina|risposta automatica"
    r"|resposta automática|automatisch antwoord|automatiskt? svar|autosvar)\s*([:：(]|\Z)",
    re.IGNORECASE,
)
"""Customers complain of these, too: such a subject needs a second sign. Bounces are known by who sends them alone."""
_AWAY = re.compile(
    r"\b(i am|i['’]m|i will be|we are|ich bin|wir sind|je suis|je serai|estoy|estaré|sono|sarò|estou|ik ben|jag är)\b"
    r".{0,60}\b(out of|away|on (\w+ )?(leave|vacation|holidays?)|absent|abwesend|nicht im büro|urlaub|congés?|vacances"
    r"|fuera|vacaciones|ferie|férias|fora|afwezig|vakantie|semester)\b"
    r"|(我|本人).{0,12}(休假|出差|外出|度假|放假|不在)|(休暇|外出|出張|不在).{0,12}(いただ|頂|おり|です|ます)"
    r"|automatic(ally)? (generated|reply|response)|automatisch (erstellt|generiert)|系统自动|自动回复|自動(返信|回覆)",
    re.IGNORECASE,
)
"""What machines write for those who are not there."""
_AWAY_WITHIN_CHARS = 500


def _nobody_wrote_it(mail: Mail, our_list: bool, whole: str | None) -> str | None:
    """Why there is nobody's voice in it; None where there is one."""
    submitted = mail.header("auto-submitted").partition(";")[0].strip().lower()
    if _REPORT.match(mail.header("content-type")) or mail.header("x-failed-recipients"):
        return "a bounce or a receipt"
    if _DAEMON.match(_first(mail, "from")[1] or mail.header("from")):
        return "a mail server's notice"
    if submitted not in {"", "no"}:
        return f"a machine's mail: Auto-Submitted: {submitted}"[:100]
    if mail.envelope_from in {"", "<>"} or mail.header("return-path").strip() == "<>":
        return "a machine's mail: nobody is to be answered (Return-Path <>)"
    automatic = next((name for name in _AUTOMATIC_HEADERS if mail.header(name).strip().lower() not in {"", "no"}), None)
    if automatic:
        return f"a machine's mail: {automatic}"
    precedence = mail.header("precedence").strip().lower()
    if precedence in _BULK and not our_list:
        return f"mail in bulk: Precedence: {precedence}"
    found = _list_of(mail)
    if (found or precedence == "list") and not our_list:
        named = found or "which it does not name"
        return f"mail of a list ({named}): if that is a group address of ours, name it in options: our_lists"[:200]
    if _AUTOMATIC_SUBJECTS.match(mail.header("subject")) and _is_machines(mail, whole):
        return "an automatic answer, as its subject says"
    return None


def _is_machines(mail: Mail, whole: str | None) -> bool:
    """The second sign of an automatic answer: it says nothing, or that somebody is away, asks for no automatic answer,
    or answers a mail; a person's answer would begin with `Re:`."""
    if not is_visible(whole) or mail.header("x-auto-response-suppress") or mail.header("in-reply-to"):
        return True
    return _AWAY.search((whole or "")[:_AWAY_WITHIN_CHARS]) is not None


def _list_of(mail: Mail) -> str | None:
    """The list's id, without its description and brackets."""
    return text_of(mail.header("list-id").rpartition("<")[2].partition(">")[0].lower())


def _writer(mail: Mail, our_list: bool) -> tuple[str | None, str | None]:
    """Name and address. A group address or a contact form writes in its own name, and says elsewhere for whom."""
    name, address = _first(mail, "from")
    elsewhere = ("x-original-from", "reply-to", "x-original-sender") if our_list else ("reply-to",)
    if our_list or _NO_REPLY.match(address):
        for header in elsewhere:
            other_name, other = _first(mail, header)
            if other and not _NO_REPLY.match(other):
                return text_of(other_name or name), text_of(other)
    return text_of(name), text_of(address)


def _is_staff(address: str | None, source: Source) -> bool:
    lowered = (address or "").lower()
    staff = [str(one).lower() for one in source.options.get("staff", [])]
    return any(lowered.endswith(one) if one.startswith("@") else lowered == one for one in staff)


def _first(mail: Mail, header: str) -> tuple[str, str]:
    return next(iter(mail.addresses(header)), ("", ""))


def _ids_in(value: str) -> list[str]:
    found = re.findall(r"<([^<>\s]{1,998})>", value)
    return found or [one for one in value.split() if "@" in one]


def _id_in(value: str) -> str | None:
    return next(iter(_ids_in(value)), None) or text_of(value.strip("<> "))


# ── what was said ────────────────────────────────────────────────────────────────────────────────


def said_in(text: str, *, forwarded: bool = False) -> tuple[str | None, str]:
    """What its writer wrote, and what stood around it."""
    whole = text_of(text.replace("\r\n", "\n").replace("\r", "\n"))
    if whole is None:
        return None, ""
    lines = whole.split("\n")
    kept, cut = _without_quotations(lines[:LINES_MAX], forwarded)
    (cut if cut else kept).extend(lines[LINES_MAX:])
    kept = _without_signature(kept, cut)
    said = text_of(_GAP.sub("\n\n", "\n".join(_trimmed(kept))))
    if not is_visible(said):
        return whole, ""
    return said, "\n".join(cut).strip() if cut else ""


def _without_quotations(lines: list[str], forwarded: bool) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    cut: list[str] = []
    at = looked = 0
    while at < len(lines):
        line = lines[at]
        if _is_quoted(line):
            end = _end_of_quoted(lines, at)
            # One such line alone may be somebody's own: "> 5 items fail".
            is_quotation = end - at > 1 or not any(map(str.strip, lines[end:])) or bool(cut)
            (cut if is_quotation else kept).extend(lines[at:end])
            at = end
            continue
        if len(line) > _LINE_MAX_CHARS:
            kept.append(line)
            at += 1
            continue
        if _is_forwarding(line):
            return kept + lines[at:], cut
        if _is_heading_of_all(lines, at):
            if forwarded and not cut:
                return kept + lines[at:], cut
            return kept, cut + lines[at:]
        ends_in_colon = any(one.rstrip().endswith((":", "：")) for one in lines[at : at + _HEADING_MAX_LINES])
        looked += ends_in_colon
        length = _heading(lines, at) if ends_in_colon and looked <= HEADINGS_MAX else 0
        if length:
            below = next((n for n in range(at + length, len(lines)) if lines[n].strip()), len(lines))
            if below < len(lines) and not _is_quoted(lines[below]):
                # No client marks what it quotes here: all that is below is quoted, unless nothing stands above.
                if any(map(str.strip, kept)):
                    return kept, cut + lines[at:]
                return lines, []
            cut += lines[at : at + length]
            at += length
            continue
        kept.append(line)
        at += 1
    return kept, cut


def _is_quoted(line: str) -> bool:
    return line.lstrip(" \t\u3000\xa0").startswith((">", "＞"))


def _end_of_quoted(lines: list[str], at: int) -> int:
    """Behind the last of the quoted lines, with the empty ones between them."""
    end = at
    for number in range(at, len(lines)):
        if _is_quoted(lines[number]):
            end = number + 1
        elif lines[number].strip():
            break
    return end


def _heading(lines: list[str], at: int) -> int:
    """Of how many lines the line "On … wrote:" above a quotation is that begins here; 0 where none does."""
    for last in range(at, min(at + _HEADING_MAX_LINES, len(lines))):
        line = lines[last]
        if not line.strip() or (_is_quoted(line) and not _END_OF_ADDRESS.fullmatch(line)):
            break
        if line.rstrip().endswith((":", "：")) and _begin_of_heading(lines, last) == at:
            return last - at + 1
    return 0


def _begin_of_heading(lines: list[str], last: int) -> int | None:
    """The nearest line with which it is whole: the one before that may be somebody's last words."""
    with_address = None
    for begin in range(last, max(last - _HEADING_MAX_LINES, -1), -1):
        joined = " ".join(line.strip() for line in lines[begin : last + 1]).replace("< ", "<").replace(" >", ">")
        if len(joined) > _LINE_MAX_CHARS or not lines[begin].strip():
            break
        said = _NO_WORD.sub("", joined, count=1)
        if not any(pattern.fullmatch(said) for pattern in _WROTE):
            continue
        if _DATED.search(joined):
            return begin
        if with_address is None and "@" in joined:
            with_address = begin
    return with_address


def _is_heading_of_all(lines: list[str], at: int) -> bool:
    """Whether all that follows is quoted: a separator such as `-----Original Message-----`, or a block of headers."""
    if _ORIGINAL.fullmatch(_between_rules(lines[at])):
        return True
    if _RULE.match(lines[at]):
        at = next((n for n in range(at + 1, min(at + 3, len(lines))) if lines[n].strip()), at)
    if _field(lines[at]) != "from":
        return False
    kinds = {_field(line) for line in lines[at : at + 8]}
    return {"from", "subject"} <= kinds and bool(kinds & {"date", "to"})


def _is_forwarding(line: str) -> bool:
    begun = _FORWARDING.fullmatch(line.strip().rstrip(":：").rstrip())
    return begun is not None or _FORWARDED_BY.fullmatch(_between_rules(line)) is not None


def _between_rules(line: str) -> str:
    """What stands between two rules, as in `----- Original Message -----`; empty where no two are."""
    line = line.strip()
    is_between = not (line[:2] + line[-2:]).strip(_RULES)
    return line.strip(_RULES).strip() if is_between else ""


def _field(line: str) -> str | None:
    found = _FIELD.match(line)
    return _FIELDS.get(found[1].lower()) if found else None


def _without_signature(lines: list[str], cut: list[str]) -> list[str]:
    """What is behind the last `--` is a signature where it is as short as one; people part their paragraphs so, too."""
    last = next((n for n in range(len(lines) - 1, 0, -1) if _SIGNATURE.match(lines[n])), None)
    if last is not None and len(lines) - last <= _SIGNATURE_MAX_LINES:
        signature = lines[last:]
        if sum(map(len, signature)) <= _SIGNATURE_MAX_CHARS and is_visible("".join(lines[:last])):
            cut.extend(signature)
            lines = lines[:last]
    for _ in range(_SIGN_OFF_LINES):
        written = [number for number, line in enumerate(lines) if line.strip()]
        if len(written) < 2 or not _is_sign_off(lines[written[-1]]):
            break
        cut.append(lines[written[-1]])
        lines = lines[: written[-1]]
    return lines


def _is_sign_off(line: str) -> bool:
    return len(line) <= _SENT_FROM_MAX_CHARS and _SENT_FROM.match(line) is not None


def _trimmed(lines: list[str]) -> list[str]:
    """Without the rules that stood before what was taken off."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or _RULE.match(lines[end - 1])):
        end -= 1
    return lines[:end]


_GAP = re.compile(r"\n(?:[ \t]*\n){2,}")
_HEADING_MAX_LINES = 3
_LINE_MAX_CHARS = 300
"""No line above a quotation is longer."""
_END_OF_ADDRESS = re.compile(r"\s*>[^:：]{0,30}[:：]\s*")
_SIGNATURE_MAX_LINES = 12
_SIGNATURE_MAX_CHARS = 600
_SIGN_OFF_LINES = 4
_SIGNATURE = re.compile(r"\s*(--|—|－－)[ \xa0]?\Z")
_RULES = "-_=*"
_RULE = re.compile(r"\s*[-_=*~—─]{3,}\s*\Z")
_DATED = re.compile(r"\b(19|20)\d\d\b|(19|20)\d\d年|\d{1,2}[:.h]\d\d|\d{1,2}[./]\d{1,2}[./]\d\d")
_NO_WORD = re.compile(r"\A\W+")
_WROTE = tuple(
    re.compile(rf"{pattern}\s*[:：]", re.IGNORECASE)
    for pattern in (
        r"(on|at)\b.+\b(wrote|writes|said)",
        r".+\bwrote\b( on\b.+)?",
        r"am\b.+\b(schrieb|geschrieben)\b.*",
        r".+\bschrieb(en)?\b( am\b| um\b|\Z).*",
        r".+\bschrieb",
        r"le\b.+\ba [ée]crit",
        r"el\b.+\bescribi[óo]",
        r"(em|a)\b.+\bescreveu",
        r"il\b.+\bha scritto",
        r"op\b.+\b(schreef|geschreven)\b.*",
        r"(den|på)\b.+\bskrev\b.*",
        r".+\b(написал(\(а\)|а)?|пишет?)",
        r".+\bnapisał(\(a\)|a)?",
        r".*(写道|寫道|写到|编写)",
        r".+(のメール|のメッセージ|書きました|さんのコメント)",
        r".+(작성|썼습니다)",
        r".{0,80}\d{4}.{0,120}<[^<>\s@]+@[^<>\s@]+>",
    )
)
"""The line above a quotation, from its first letter on, without its colon. It also has a date or an address in it."""
_ORIGINAL = re.compile(
    r"(original (message|appointment)|repl(y|ied) message|on\b.{1,200}\bwrote"
    r"|ursprüngliche nachricht|originalnachricht"
    r"|message (d['’]origine|original)|mensaje original|mensagem original|messaggio originale|oorspronkelijk bericht"
    r"|原始(邮件|信件|郵件|訊息)|回复的原邮件|原邮件|元のメッセージ|исходное сообщение|원본 메시지)",
    re.IGNORECASE,
)
_FORWARDED_BY = re.compile(
    r"(forwarded (message|by.{1,80})|weitergeleitete (nachricht|e-?mail)|message transféré"
    r"|mensaje reenviado|mensagem encaminhada|messaggio inoltrato|doorgestuurd bericht|转发(的)?邮件|轉寄(的)?郵件"
    r"|転送(メッセージ|された?メール))",
    re.IGNORECASE,
)
_FORWARDING = re.compile(
    r"(begin forwarded message|anfang der weitergeleiteten (e-?mail|nachricht)|début du message (transféré|réexpédié)"
    r"|inicio del mensaje reenviado|转发的邮件|下面是(被)?转发的邮件)",
    re.IGNORECASE,
)
_FIELD_WORDS = {
    "from": "from von de da van från fra 发件人 寄件者 寄件人 差出人 送信者 от 보낸사람",
    "date": "sent date gesendet datum envoyé enviado enviada fecha data verzonden skickat sendt 发送时间 发送日期 日期"
    " 时间 寄件日期 傳送時間 送信日時 日時 日付 отправлено дата 날짜 보낸날짜",
    "to": "to an à a para aan till til 收件人 收件者 宛先 кому 받는사람",
    "subject": "subject betreff objet asunto assunto oggetto onderwerp ämne emne 主题 主旨 主題 件名 тема 제목",
}
_FIELDS = {word: kind for kind, words in _FIELD_WORDS.items() for word in words.split()}
_FIELD = re.compile(r"[\s*_>]{0,8}([^\W\d_]{1,12})(?: (?:el|em|le))?[\s*_]{0,4}[:：]")
_DEVICE = (
    r"(iphone|ipad|ipod|android|phone|mobile|device|handy|tablet|galaxy|samsung|huawei|honor|xiaomi|redmi|oppo|oneplus"
    r"|pixel|nokia|blackberry|windows|outlook|e?mail|thunderbird|spark|superhuman|yahoo|proton|airmail|móvil|celular"
    r"|telefon\w*|téléphone|портативн\w*|手机|手機|平板|电脑|邮箱|郵箱|邮件|客户端|华为|華為|小米|荣耀|スマートフォン|携帯)"
)
_SENT_FROM = re.compile(
    rf"\s*[(<]{{0,2}}((sent|from|gesendet|envoyé|enviado|inviato|verzonden|verstuurd|skickat|sendt|отправлено|get"
    rf"|von mein\w*|diese nachricht wurde von)\b.{{0,50}}{_DEVICE}.{{0,40}}"
    rf"|(发自|發自|来自我的|從我的|从我的|从).{{0,30}}{_DEVICE}.{{0,20}}|(获取|下载) ?outlook.{{0,20}}"
    rf"|.{{0,20}}{_DEVICE}.{{0,10}}から送信.{{0,5}})"
    r"[)>]{0,2}\s*\Z",
    re.IGNORECASE,
)
_SENT_FROM_MAX_CHARS = 90
_PREFIXES = re.compile(
    r"\A(?:\s*(?:re|aw|antw|sv|vs|res|rif|rv|tr|wg|fwd?|回复|答复|回覆|转发|轉寄|返信|転送)(?:\[\d{1,3}\])?\s*[:：])+\s*",
    re.IGNORECASE,
)
_FORWARDED = re.compile(r"\s*(fwd?|wg|tr|rv|enc|i|转发|轉寄|転送)\s*[:：]", re.IGNORECASE)


# ── HTML and MIME ────────────────────────────────────────────────────────────────────────────────

_QUOTE, _END_QUOTE = "\ue000", "\ue001"
_BLOCKQUOTE = re.compile(r"<blockquote\b[^<>]{0,2000}>", re.IGNORECASE)
_END_BLOCKQUOTE = re.compile(r"</blockquote\s{0,20}>", re.IGNORECASE)


def _text_of_html(html: str | None) -> str | None:
    """As text, in which a `blockquote` has the mark that it has in plain mail."""
    if not html:
        return None
    html = html.replace(_QUOTE, "").replace(_END_QUOTE, "")
    html = _BLOCKQUOTE.sub(f"<br>{_QUOTE}<br>", html)
    text = plain_text(_END_BLOCKQUOTE.sub(f"<br>{_END_QUOTE}<br>", html))
    if text is None or _QUOTE not in text:
        return text and text.replace(_END_QUOTE, "")
    lines, depth = [], 0
    for line in text.split("\n"):
        if line == _QUOTE:
            depth += 1
            lines.append(">")  # never one line alone, which might be somebody's own
        elif line == _END_QUOTE:
            depth = max(0, depth - 1)
        else:
            lines.append("> " + line if depth else line)
    return "\n".join(lines)


class _Part(Message):
    """A part of a mail, of which the standard library's reader asks no more than it can answer at once.

    That reader looks at each line once for every level that is open, takes time by the square of a header's
    semicolons, and decodes a boundary from whatever charset it says that it is in, of which some take as long.
    """

    _level = 0

    def attach(self, payload: Any) -> None:
        """Called at the beginning of each part, before its lines are read."""
        payload._level = self._level + 1
        if payload._level > LEVELS_MAX:
            raise MessageError("parts within parts")
        super().attach(payload)

    def get(self, name: str, failobj: Any = None) -> Any:
        found = super().get(name, failobj)
        return failobj if found is failobj else str(found)[:PART_HEADER_MAX_CHARS]

    def get_boundary(self, failobj: Any = None) -> Any:
        return _as_written(self.get_param("boundary", failobj))

    def get_content_charset(self, failobj: Any = None) -> Any:
        return _as_written(self.get_param("charset", failobj))


def _as_written(value: Any) -> Any:
    """A parameter in the writing of RFC 2231 comes with the charset that it is said to be in, which is passed over."""
    return value[2] if isinstance(value, tuple) else value


def read_mime(raw: bytes) -> Mail:
    """A whole mail, as it went over the wire. Raises `Unreadable`."""
    if max(raw.count(b"\n"), raw.count(b"\r")) > MIME_LINES_MAX:
        raise Unreadable("a mail of too many lines")
    try:
        message = message_from_bytes(raw, _Part)
        plain, html, attachments = _parts(message)
        headers = [(name, _unfolded(str(value))) for name, value in message.raw_items()]
    except (MessageError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise Unreadable("the mail is not MIME") from None
    if not headers:
        raise Unreadable("the mail is not MIME")
    return Mail(headers, "\n".join(plain) or None, "\n".join(html) or None, attachments)


def _parts(message: Message) -> tuple[list[str], list[str], int]:
    """What is to be read, as text and as HTML, and how much is attached. A mail that is attached was not said."""
    plain: list[str] = []
    html: list[str] = []
    attachments = 0
    waiting: list[Any] = [message]
    for _ in range(PARTS_MAX):
        if not waiting:
            break
        part = waiting.pop()
        kind = part.get_content_type()
        if kind.startswith("multipart/") and part.is_multipart():
            waiting.extend(reversed(part.get_payload()))
        elif kind in {"text/plain", "text/html"} and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                (plain if kind == "text/plain" else html).append(decode(payload, part.get_content_charset()))
        elif not kind.startswith("message/"):
            attachments += 1
    return plain, html, attachments


_READ = frozenset(
    {"utf_8", "utf_8_sig", "utf_7", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"}
    | {"gb18030", "hz", "big5", "big5hkscs", "cp950", "cp932", "euc_jp", "iso2022_jp", "cp949", "iso2022_kr", "johab"}
    | {f"iso8859_{number}" for number in range(2, 17) if number != 12}
    | {f"cp{number}" for number in range(1250, 1259)}
    | {"koi8_r", "koi8_u", "mac_roman", "mac_cyrillic", "cp437", "cp850", "cp866", "cp874", "tis_620"}
)
"""The charsets that mail is written in. A name is the sender's, and Python knows codecs by name that are none, of which
some (`punycode`, `idna`) take time by the square."""
_MORE = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "latin_1": "cp1252",
    "ascii": "utf_8",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
"""By what is sent under these names, which is more than they stand for."""
_CHARSETS = (
    {name: name for name in _READ}
    | {alias: name for alias, name in aliases.items() if name in _READ}
    | _MORE
    | {alias: _MORE[name] for alias, name in aliases.items() if name in _MORE}
    | {"unicode_1_1_utf_7": "utf_7"}
)
_NO_NAME = re.compile(r"[^a-z0-9]+")


def decode(raw: bytes, charset: str | None) -> str:
    """Whatever comes is text: a mail is not lost for a byte."""
    named = _NO_NAME.sub("_", (charset or "utf-8")[:CHARSET_MAX_CHARS].lower()).strip("_")
    for name in (_CHARSETS.get(named, "utf_8"), "utf_8"):
        try:
            return raw.decode(name)
        except ValueError:
            continue
    return raw.decode("cp1252", "replace") if named in {"utf_8", "us_ascii"} else raw.decode("utf-8", "replace")


def _decoded(value: str) -> str:
    """RFC 2047, where it is used."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value)
        return "".join(piece if isinstance(piece, str) else decode(piece, charset) for piece, charset in pieces)
    except (HeaderParseError, ValueError, LookupError, TypeError):
        return value


def _unfolded(value: str) -> str:
    """A header on one line; raw UTF-8 in it, as newer mail servers send, is read as such."""
    plain = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(plain.split())


def written(name: str | None, address: str) -> str:
    """A name and an address as a header has them."""
    # Half of a surrogate pair is no character that a header could say.
    shown = (name or "").encode("utf-8", "replace").decode()
    return formataddr((shown, address)) if address.isascii() else address


def headers_in(block: str) -> list[tuple[str, str]]:
    """The headers of a mail as one text."""
    return list(_header_lines(block))


def _header_lines(block: str) -> Iterator[tuple[str, str]]:
    name, value = "", ""
    for line in block.replace("\r\n", "\n").split("\n"):
        if line[:1] in {" ", "\t"}:
            value += " " + line.strip()
            continue
        if name:
            yield name, value
        name, colon, value = line.partition(":")
        name, value = (name.strip(), value.strip()) if colon else ("", "")
    if name:
        yield name, value
