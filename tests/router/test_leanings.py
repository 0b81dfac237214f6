"""Whom the words speak for before anybody has taught us: sentences of our own, in seven languages."""

from typing import Any

import pytest

from services.router.model.evidence import TEAMS
from services.router.model.leanings import LEANINGS
from services.router.route import LEXICONS, explain
from tests.router.rulesets import ruleset

NO_RULES = ruleset()


def decided(text: str, **more: Any) -> dict[str, Any]:
    return explain(NO_RULES, {"source": "test", "text": text, **more})


SENTENCES = [
    # English
    ("Where is my parcel? It was due on Monday.", "support"),
    ("You billed us for March although we left in February, I want a refund", "support"),
    ("How do I reset my password?", "support"),
    ("The receptionist was rude to my mother", "support"),
    ("Please cancel my order, I chose the wrong colour", "support"),
    ("My invoice shows the old address", "support"),
    ("The app crashes whenever I rotate the phone", "product"),
    ("It would be great if the calendar had a week view", "product"),
    ("Please add dark mode to the reader", "product"),
    ("Since the latest update the menu covers the button", "product"),
    ("Feature request: export the table as a spreadsheet", "product"),
    ("How much does the team plan cost per user?", "sales"),
    ("Could you send us a quote for forty licences?", "sales"),
    ("Which one should I buy for a small kitchen?", "sales"),
    ("We are interested in buying, can we book a demo?", "sales"),
    ("Is there any discount for schools?", "sales"),
    # Chinese
    ("我的快递一个星期了还没到", "support"),
    ("申请退款三天没有人理我", "support"),
    ("忘记密码了怎么办", "support"),
    ("前台服务态度很差，房间也没打扫", "support"),
    ("发票抬头开错了，麻烦重新开", "support"),
    ("希望增加夜间模式", "product"),
    ("更新以后一打开就闪退", "product"),
    ("建议添加批量导出的功能", "product"),
    ("新版本的界面太难用，按钮找不到", "product"),
    ("企业版多少钱一年？", "sales"),
    ("想购买五十套，有优惠吗", "sales"),
    ("请给我们一份报价", "sales"),
    ("请问在哪里可以买到，哪款好", "sales"),
    # Japanese
    ("注文した商品がまだ届きません", "support"),
    ("パスワードを忘れました、どうすればいいですか", "support"),
    ("返金をお願いします", "support"),
    ("スタッフの対応がとても残念でした", "support"),
    ("ダークモードの機能を追加してほしい", "product"),
    ("アップデート後にアプリが落ちる", "product"),
    ("画面が使いにくいので改善してほしい", "product"),
    ("見積もりをお願いできますか", "sales"),
    ("購入を検討していますが、割引はありますか", "sales"),
    ("料金プランについて教えてください", "sales"),
    # Spanish
    ("Mi pedido todavía no ha llegado", "support"),
    ("Quiero el reembolso de lo que me cobraron dos veces", "support"),
    ("La habitación estaba sucia y el personal fue grosero", "support"),
    ("La aplicación se cierra sola después de la actualización", "product"),
    ("Me gustaría que se pudiera usar el modo oscuro", "product"),
    ("¿Cuánto cuesta el plan para empresas?", "sales"),
    ("Necesitamos un presupuesto para veinte licencias", "sales"),
    # German
    ("Meine Bestellung ist immer noch nicht geliefert worden", "support"),
    ("Ich habe mein Passwort vergessen", "support"),
    ("Die Rechnung stimmt nicht, ich bitte um Erstattung", "support"),
    ("Nach dem Update stürzt die App ab", "product"),
    ("Es wäre toll, wenn man die Liste sortieren könnte", "product"),
    ("Was kostet der Tarif für zehn Nutzer?", "sales"),
    ("Bitte senden Sie uns ein Angebot", "sales"),
    # French
    ("Ma commande n'est toujours pas arrivée, où est mon colis ?", "support"),
    ("Je demande le remboursement de la facture", "support"),
    ("La chambre était sale et le personnel désagréable", "support"),
    ("L'application plante depuis la mise à jour", "product"),
    ("Ce serait bien d'ajouter un mode sombre", "product"),
    ("Combien coûte l'abonnement pour une entreprise ?", "sales"),
    ("Pouvez-vous nous envoyer un devis ?", "sales"),
    # Portuguese
    ("Meu pedido ainda não chegou", "support"),
    ("Quero o estorno da cobrança em dobro", "support"),
    ("Esqueci minha senha", "support"),
    ("O aplicativo trava depois da atualização", "product"),
    ("Seria ótimo adicionar o modo escuro", "product"),
    ("Quanto custa o plano para empresas?", "sales"),
    ("Gostaria de comprar vinte unidades, há desconto?", "sales"),
]


def test_they_are_enough() -> None:
    assert len(SENTENCES) >= 60


@pytest.mark.parametrize(("text", "team"), SENTENCES)
def test_a_plain_sentence_finds_its_team(text: str, team: str) -> None:
    found = decided(text)
    assert (found["team"], found["decided_by"]) == (team, "model")
    reason = found["reasons"][0]
    assert (reason["code"], reason["model"]) == ("model.team", LEXICONS)
    assert reason["confidence"] == found["confidence"]


def test_what_speaks_for_nobody_goes_to_the_default_team() -> None:
    found = decided("We met on Tuesday")
    assert (found["team"], found["decided_by"], found["triage"]) == ("support", "default", False)


def test_little_is_sure_and_says_so() -> None:
    """A word for each: the best guess stands, and somebody is asked to look."""
    found = decided("The price of the update and the delivery of the app")
    assert found["decided_by"] == "model"
    assert found["triage"] is (found["confidence"] < 0.5) is True


def test_a_plain_text_is_no_triage() -> None:
    assert decided("Could you send us a quote for forty licences?")["triage"] is False


def test_a_rule_wins_and_says_so() -> None:
    """Although every word of it speaks for sales."""
    rules = ruleset("rules: [{name: ours, when: {text: {contains: [quote]}}, then: [{assign: product}]}]")
    found = explain(rules, {"source": "test", "text": "Could you send us a quote for forty licences?"})
    assert (found["team"], found["decided_by"], found["rule"]) == ("product", "rule", "ours")
    assert found["confidence"] == 1.0
    assert not any(reason["code"] == "model.team" for reason in found["reasons"])


def test_teams_of_other_names_have_no_words() -> None:
    """Where there is no sales, its words speak for nobody."""
    rules = ruleset(teams="default_team: desk\nteams: [{name: desk}, {name: garden}]")
    found = explain(rules, {"source": "test", "text": "Could you send us a quote for forty licences?"})
    assert (found["team"], found["decided_by"]) == ("desk", "default")


def test_a_score_alone_speaks_for_nobody() -> None:
    found = explain(NO_RULES, {"source": "test", "scores": [{"metric": "nps", "value": 1}]})
    assert found["decided_by"] == "default"


def test_every_word_speaks_for_teams_that_there_are() -> None:
    assert len({word for word, _ in LEANINGS}) == len(LEANINGS)
    for word, speaks in LEANINGS:
        assert speaks, word
        assert set(speaks) <= set(TEAMS)
        assert all(weight > 0 for weight in speaks.values())


def test_the_words_shown_stand_in_the_text() -> None:
    text = "how do i get a refund for my order"
    reason = decided(text)["reasons"][0]
    assert reason["words"]
    assert all(word in text for word in reason["words"])
