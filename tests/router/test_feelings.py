"""Emotions and what presses, in six languages, with their words; denied ones are none. The sentences are our own."""

from typing import Any

import pytest

from services.router import feelings
from services.router.lexicons import LEXICON
from services.router.route import explain
from services.router.rules import load
from shared.config import STARTER, config_of, read_dir

RULES = load(config_of({**read_dir(STARTER), "routing.yaml": "rules: []"}))


def decided(text: str, **more: Any) -> dict[str, Any]:
    return explain(RULES, {"source": "web", "text": text, **more})


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I am furious about this", "anger"),
        ("这家店太过分了，我很生气", "anger"),
        ("対応がひどくて本当に腹が立ちます", "anger"),
        ("Estoy muy enojado con ustedes", "anger"),
        ("Das ist eine Frechheit", "anger"),
        ("Je suis furieux, c'est inadmissible", "anger"),
        ("I'm worried that my photos are gone", "worry"),
        ("我很担心数据会丢", "worry"),
        ("個人情報が心配です", "worry"),
        ("Estoy preocupada por mis datos", "worry"),
        ("Ich bin besorgt um meine Daten", "worry"),
        ("Je suis inquiète pour mes photos", "worry"),
        ("We are disappointed with the new version", "disappointment"),
        ("对新版本很失望", "disappointment"),
        ("期待外れでした", "disappointment"),
        ("Estoy decepcionado con el producto", "disappointment"),
        ("Ich bin sehr enttäuscht", "disappointment"),
        ("Je suis très déçue par ce produit", "disappointment"),
        ("I am confused by the new menu", "confusion"),
        ("新的菜单让我一头雾水", "confusion"),
        ("使い方がわかりません", "confusion"),
        ("No entiendo la factura", "confusion"),
        ("Die Anleitung ist unverständlich", "confusion"),
        ("Je ne comprends pas la facture", "confusion"),
        ("We are delighted with it", "delight"),
        ("收到以后特别惊喜", "delight"),
        ("とても嬉しいです", "delight"),
        ("Estoy encantada con la compra", "delight"),
        ("Wir sind begeistert", "delight"),
        ("Je suis ravie de mon achat", "delight"),
        ("Thank you so much for the quick help", "thanks"),
        ("感谢你们的帮助", "thanks"),
        ("ありがとうございます", "thanks"),
        ("Muchas gracias", "thanks"),
        ("Vielen Dank", "thanks"),
        ("Merci beaucoup", "thanks"),
    ],
)
def test_an_emotion_is_told_by_its_words(text: str, emotion: str) -> None:
    found = decided(text)
    assert found["emotion"]["label"] == emotion
    assert found["emotion"]["words"]
    reason = next(one for one in found["reasons"] if one["code"] == "emotion.words")
    assert (reason["emotion"], reason["words"]) == (emotion, found["emotion"]["words"])


@pytest.mark.parametrize(
    "text",
    [
        "I moved to Berlin",
        "I am not angry",
        "我不是生气",
        "怒っていないです",
        "No estoy enojado",
        "Ich bin nicht wütend",
        "Je ne suis pas furieux",
        "The content of the page is in German",
        "Please add a dark mode. Thank you",
        "",
    ],
)
def test_no_emotion_where_none_is_said_or_it_is_denied(text: str) -> None:
    found = decided(text, scores=[{"metric": "nps", "value": 8}])
    assert found["emotion"] is None
    assert not any(one["code"] == "emotion.words" for one in found["reasons"])


@pytest.mark.parametrize("text", ["I am not happy with it", "我不满意", "Ich bin nicht zufrieden", "No estoy contento"])
def test_joy_that_is_denied_is_disappointment(text: str) -> None:
    assert decided(text)["emotion"]["label"] == "disappointment"


def test_nobody_who_complains_is_answered_as_if_delighted() -> None:
    found = decided("I love how it breaks every day", scores=[{"metric": "nps", "value": 0}])
    assert found["sentiment"]["label"] == "negative"
    assert found["emotion"] is None


@pytest.mark.parametrize(
    ("text", "causes", "priority"),
    [
        ("Your website is down", ["outage"], "urgent"),
        ("整个系统宕机了", ["outage"], "urgent"),
        ("サーバーが落ちています", ["outage"], "urgent"),
        ("El servicio está caído", ["outage"], "urgent"),
        ("Seit heute früh ist alles ausgefallen", ["outage"], "urgent"),
        ("Le serveur en panne depuis hier", ["outage"], "urgent"),
        ("The charger caught fire", ["safety"], "urgent"),
        ("充电器起火了", ["safety"], "urgent"),
        ("バッテリーから発火しました", ["safety"], "urgent"),
        ("Das Kind wurde verletzt", ["safety"], "urgent"),
        ("My lawyer will write to you", ["legal"], "urgent"),
        ("我会找律师", ["legal"], "urgent"),
        ("弁護士に相談します", ["legal"], "urgent"),
        ("Mi abogado se pondrá en contacto", ["legal"], "urgent"),
        ("Mein Anwalt meldet sich", ["legal"], "urgent"),
        ("Mon avocat vous écrira", ["legal"], "urgent"),
        ("We are switching to a rival", ["churn"], "high"),
        ("明年不再续费", ["churn"], "high"),
        ("解約したいです", ["churn"], "high"),
        ("Quiero darme de baja", ["churn"], "high"),
        ("Ich kündige den Vertrag", ["churn"], "high"),
        ("Je veux résilier mon contrat", ["churn"], "high"),
        ("I want a refund", ["refund"], "high"),
        ("我要退款", ["refund"], "high"),
        ("返金してください", ["refund"], "high"),
        ("Quiero un reembolso", ["refund"], "high"),
        ("Ich will mein Geld zurück", ["refund"], "high"),
        ("Remboursez-moi", ["refund"], "high"),
        ("URGENT: production is down, my lawyer knows", ["asked", "outage", "legal"], "urgent"),
        ("cancel my order please", [], "normal"),
        ("I don't want a refund", [], "normal"),
        ("Ich habe keinen Anwalt", [], "normal"),
        ("What is your refund policy?", [], "normal"),
        ("I moved to Berlin", [], "normal"),
    ],
)
def test_what_presses_has_a_cause_and_the_priority_follows(text: str, causes: list[str], priority: str) -> None:
    found = decided(text)
    assert [one["cause"] for one in found["urgency"]] == causes
    assert all(one["words"] for one in found["urgency"])
    assert found["priority"] == priority
    told = [one for one in found["reasons"] if "urgency" in one]
    assert [one["urgency"] for one in told] == ([found["urgency"]] if causes else [])


def test_a_key_customer_in_trouble_presses_beside_what_they_say() -> None:
    found = decided("The export fails and we are switching to a rival", customer={"tier": "VIP"})
    assert [one["cause"] for one in found["urgency"]] == ["churn", "vip"]
    assert found["priority"] == "urgent"
    codes = [one["code"] for one in found["reasons"]]
    assert {"priority.tier", "urgency.causes"} <= set(codes)
    assert decided("Love it, great job", customer={"tier": "VIP"})["urgency"] == []


def test_rules_ask_for_emotions_and_causes_and_set_the_priority_all_the_same() -> None:
    routing = """
rules:
  - name: angry-and-pressing
    when: {emotion: [anger, disappointment], urgency: [legal, churn]}
    then: [{assign: support}, {prioritise: low}]
    examples:
      - {text: "I am furious, my lawyer will call", expect: {team: support, emotion: anger, urgency: legal, priority: low}}
  - name: nothing-felt
    when: {all: [{emotion: none}, {text: {contains: invoice}}]}
    then: [{assign: sales}]
"""
    rules = load(config_of({**read_dir(STARTER), "routing.yaml": routing}))
    found = explain(rules, {"source": "web", "text": "I am furious, my lawyer will call"})
    assert (found["rule"], found["priority"]) == ("angry-and-pressing", "low")
    assert [one["cause"] for one in found["urgency"]] == ["legal"]
    matched = next(one["text"] for one in found["reasons"] if one["code"] == "rule.matched")
    assert "the emotion is anger" in matched
    assert 'what presses is legal ("lawyer")' in matched
    assert next(one["code"] for one in found["reasons"] if "urgency" in one) == "urgency.causes"
    assert explain(rules, {"source": "web", "text": "the invoice"})["rule"] == "nothing-felt"
    assert explain(rules, {"source": "web", "text": "I am furious about the invoice"})["rule"] is None
    almost = explain(rules, {"source": "web", "text": "I am furious, we are down. Service is down"})["almost"]
    assert any("urgency churn or legal" in one["text"] and "it is outage" in one["text"] for one in almost)


def test_every_word_of_ours_stands_in_the_lexicon_with_its_emotion_and_cause() -> None:
    assert {word: LEXICON[word].emotion for word in feelings.EMOTIONS} == dict(feelings.EMOTIONS)
    assert {word: (LEXICON[word].cause, LEXICON[word].urgency) for word in feelings.CAUSES} == {
        word: tuple(cause) for word, cause in feelings.CAUSES.items()
    }
    wrong = [
        word for word, emotion in feelings.EMOTIONS.items() if LEXICON[word].polarity * feelings.POLARITY[emotion] <= 0
    ]
    assert not wrong, "a feeling whose word says its opposite"
