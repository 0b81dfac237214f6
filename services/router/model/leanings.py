"""The words by which a team is guessed before anybody has taught us: a prior, which a correction outweighs. ●

What the starter configuration's three teams are for is common knowledge, so the words follow from that and not from any
collection of texts: support answers whoever has a trouble of their own (an order, an account, a payment, a stay, how to
do something), product changes the thing itself (defects of it, wishes for it), sales talks to who has not bought yet
(price, plan, offer, which one, where to buy). A team of another name has no words here and is learnt.

Weights are in steps of one: 3 is plain by itself, 1 only adds up. Written as rules write their terms.
"""

from collections.abc import Iterator, Mapping

SUPPORT, PRODUCT, SALES = "support", "product", "sales"

_WORDS: Mapping[str, Mapping[float, str]] = {
    SUPPORT: {
        3.0: """
            refund*, reimburse*, money back, chargeback, invoice*, charged, overcharged, double charged, billing error,
            my order, my orders, order status, order number, cancel order, cancel my order, track my*, tracking number,
            where is my, not received, never received, haven't received, hasn't arrived, not arrived, not delivered,
            parcel, my package, delivery, delivered, shipment*, courier, shipping address, delivery address,
            return policy, return it, return the, replacement, exchange it, customer service, customer support,
            customer care, helpdesk, help desk, human agent, speak to a*, talk to a human, talk to someone, talk to an agent,
            reset my password, forgot my password, forgot password, forgotten password, recover my*, my password,
            delete my account, close my account, my account, user account, account locked, locked out of, unsubscribe,
            cancel my subscription, technician, on-site, unacceptable service, rude, compensat*,
            退款, 退货, 退钱, 换货, 发票, 账单, 扣款, 扣费, 多扣, 物流, 快递, 发货, 收货, 包裹, 配送, 送货, 订单, 客服, 售后, 投诉, 赔偿,
            补偿, 密码, 账号, 账户, 帐号, 维修, 上门, 未收到, 没收到, 还没到, 取消订单, 退订, 验证码, 服务态度, 服务员, 前台, 外卖, 骑手,
            返金, 返品, 交換, 請求書, 領収書, 配送, 配達, 届か, 届き, 届いて, 注文, 発送, 荷物, キャンセル, パスワード, アカウント,
            問い合わせ, お問い合わせ, サポート, カスタマー, 修理, 苦情, 対応が, 接客, スタッフ, フロント,
            reembolso*, devolucion*, devolver, factura*, mi pedido, pedido, envio, entrega*, paquete, reclamacion*, queja*,
            contrasena, mi cuenta, atencion al cliente, servicio al cliente, soporte, cancelar mi*, cobrado, cobraron,
            ruckerstattung*, erstattung*, rucksendung, retoure*, umtausch*, rechnung*, bestellung*, lieferung*, geliefert,
            paket, sendung*, beschwerde*, passwort, mein konto, benutzerkonto, kundendienst, kundenservice, kundigung,
            kundigen, abgebucht, reklamation*, techniker,
            rembours*, facture*, ma commande, commande, livraison, livre, colis, reclamation*, mot de passe, mon compte,
            service client, support technique, annuler ma*, prelev*, echange,
            devolucao, estorno, fatura*, cobranca, cobrado, meu pedido, encomenda, entrega, senha, minha conta,
            atendimento, suporte, reclamacao, cancelar
        """,
        2.0: """
            payment, payments, paid, bill, receipt, transaction*, withdrawal, deposit, bank account, credit card, order,
            orders, shipping, shipped, package, dispatch*, track, tracking, cancel, cancellation, cancelled, canceled,
            return, returns, exchange, warranty claim, password, account, sign in, log in, login, logged out, register,
            registration, registered, verify my*, verification, newsletter, complaint, complain, complaints, apolog*,
            staff, receptionist, reception, waiter, waitress, front desk, manager, employee*, driver, how do i, how to,
            how can i, how do you, how does, what is the difference, can someone, can anyone, can you help, need help,
            help me, please help, assist*, still waiting, waiting for, no response, no reply, delayed, damaged,
            wrong item, contact you, reach you, contact number, phone number, troubleshoot*, resolve, resolved, outage,
            vpn, printer, server, network, laptop, router, firewall, database, backup, hardware,
            configure, configuration, set up, setting up, setup, connect, connection, connectivity, access to,
            支付, 付款, 收据, 充值, 提现, 到账, 银行卡, 登录, 注册, 怎么办, 怎么用, 如何使用, 怎么操作, 怎么设置, 请问怎么, 帮我,
            帮忙, 解决, 处理, 反映, 服务差, 态度, 房间, 酒店, 入住, 上错, 少发, 发错, 破损, 损坏, 送餐, 餐厅, 打电话,
            支払, 入金, 決済, ログイン, 登録, 使い方, やり方, どうすれば, どうやって, 方法を教えて, 助けて, 困って, 部屋, ホテル, 宿泊, 店員, 料理,
            食事, 壊れて, 遅い, 待たされ,
            pago, pagos, cobro, tarjeta, iniciar sesion, registr*, cuenta, ayuda, ayudar*, como puedo, como se, problema con mi,
            personal, recepcion, habitacion, hotel, camarero*, comida, servicio, trato, cancelar, tecnico,
            zahlung*, bezahlt, karte, anmelden, anmeldung, konto, hilfe, helfen, wie kann ich, wie konnen wir, wartung,
            kaputt, beschadigt, personal, zimmer, unterstutzung, storung, ausfall, zugriff, einrichten, konfigur*,
            netzwerk, drucker, verbindung, behoben, beheben,
            paiement, carte, connexion, inscription, compte, aide, aider, comment puis-je, comment faire, personnel,
            accueil, chambre, hotel, serveur, repas, service, retard, panne, assistance,
            pagamento, cartao, conta, ajuda, ajudar, como posso, como faco, funcionario*, quarto, hotel, atraso, tecnico
        """,
        1.0: """
            customer, service, room, rooms, hotel, breakfast, bathroom, food, restaurant, stay, stayed, location, clean,
            dirty, noisy, bed, shower, card, bank, money, balance, fee, fees, address, phone, email, call, called, late,
            issue, issues, problem, problems, trouble, error message, urgent, urgently, unable to, couldn't, incident,
            technical, system, software, security, data, regards, dear, documentation, example, question, questions,
            why, what is, where, when, is there a way, is it possible, can i, could you, possible to, anyone know,
            服务, 早餐, 干净, 位置, 吃, 味道, 菜, 米饭, 电话, 地址, 请问, 怎么, 如何, 为什么, 哪里, 什么时候, 能否告知, 急, 麻烦,
            サービス, 朝食, 立地, 風呂, 清潔, 味, 駅, 電話, 住所, 教えて, なぜ, どこ, いつ, でしょうか, 残念,
            desayuno, limpi*, ubicacion, bano, cama, ruido*, telefono, direccion, donde, cuando, por que, problema*,
            fruhstuck, sauber, lage, badezimmer, bett, laut, telefon, adresse, wo, wann, warum, wie, problem*, fehler,
            anfrage, sehr geehrte*, dringend, system, daten, sicherheit,
            petit dejeuner, propre, emplacement, salle de bain, lit, bruit, bruyant, telephone, adresse, ou est, quand,
            pourquoi, comment, probleme*, sejour,
            cafe da manha, limpo, localizacao, banheiro, cama, barulho, telefone, endereco, onde, quando, por que,
            problema*
        """,
    },
    PRODUCT: {
        3.0: """
            feature request*, feature suggestion*, new feature, please add, add support for, add an option, add option,
            option to, ability to, would be great if, would be nice if, would be cool if, would be useful if,
            would be nice to have, would love to see, i wish it, i wish there, i wish you, should support,
            needs an option, bring back, dark mode, night mode, bug, bugs, buggy, bug report, crash*, force close*,
            freezes, keeps freezing, glitch*, stack trace, stacktrace, traceback, exception, regression, segfault,
            null pointer, steps to reproduce, expected behavior, expected behaviour, actual behavior, reproduc*,
            after the update, after update, since the update, since last update, latest update, new update, last update,
            fix this, fix it, please fix, uninstall*, user interface, the ui, usability, ux, unintuitive, this app,
            the app, great app, good app, love this app, nice app,
            希望增加, 希望添加, 希望支持, 希望能, 希望可以加, 建议增加, 建议加, 建议添加, 能不能加, 可以加个, 加个功能, 新功能, 功能建议,
            产品建议, 功能需求, 闪退, 崩溃, 报错, 白屏, 黑屏, 卡死, 卡顿, 更新后, 更新之后, 升级后, 新版本, 旧版本, 版本, 界面, 深色模式,
            夜间模式, 暗黑模式, 交互, 难用, 不好用, 优化, 改进, 修复, bug,
            機能追加, 機能がほしい, 機能が欲しい, 追加してほしい, 追加して欲しい, 追加してください, 対応してほしい, できるようにして, ようにしてほしい,
            改善してほしい, 改善して, 要望, バグ, 不具合, 落ちる, 落ちます, 強制終了, フリーズ, クラッシュ, アップデート, 更新後, バージョン,
            ダークモード, 画面, アプリ, 使いにくい, 使いづらい,
            nueva funcion, nueva funcionalidad, me gustaria que, estaria bien, estaria genial, seria ideal, seria bueno,
            seria genial, agreguen, anadir, anadan, podrian agregar, deberian, se cierra, se cuelga, se congela, actualizacion,
            ultima version, modo oscuro, interfaz, la app, la aplicacion, esta aplicacion,
            funktionswunsch, neue funktion, ware toll, ware schon, wunsche mir, wunschenswert, bitte hinzufugen,
            hinzufugen, sturzt ab, absturz*, stuerzt ab, seit dem update, nach dem update, neue version, dunkelmodus,
            benutzeroberflache, oberflache, die app, diese app,
            nouvelle fonction*, fonctionnalite*, ce serait bien, ce serait genial, il serait bien, j'aimerais que,
            ajouter, ajoutez, plante, plantage*, bogue*, bug*, mise a jour, derniere version, mode sombre, interface,
            l'application, cette application, l'appli,
            nova funcao, nova funcionalidade, seria otimo, seria bom, gostaria que, adicionar, adicionem, trava, travando,
            fecha sozinho, atualizacao, ultima versao, modo escuro, o aplicativo, esse app
        """,
        2.0: """
            feature*, suggestion, suggestions, suggest, enhancement, proposal, improve, improvement*, i wish, would be great,
            would be nice, would love, would like to be able, should be able to, add a, allow us to, allow users, let us,
            needs to be able, needs more, needs a, missing feature, freeze, freezing, frozen, lag, laggy, lagging, slow app,
            doesn't open, won't open, won't load, doesn't load, not loading, blank screen, black screen, not syncing,
            stopped working, doesn't work anymore, no longer works, app, apps, update, updated, updates, version,
            android, iphone, ipad, ios, tablet, widget*, notification*, button, screen, menu, scroll*, swipe, keyboard,
            font, icon, theme, layout, design, interface, api, sdk, plugin, extension, render*, undefined, null,
            deprecat*, compile, build fails, memory leak, performance, test case, pull request, github, ads,
            durability, battery life, quality control, material, flimsy, broke after,
            功能, 建议, 希望, 增加, 添加, 支持, 改善, 体验, 设计, 按钮, 页面, 通知, 同步, 打不开, 用不了, 加载, 更新, 升级, 安卓, 苹果,
            软件, 应用, app, 广告, 质量, 材质, 做工, 续航,
            機能, 追加, 改善, 対応し, ほしい, 欲しい, できるように, デザイン, ボタン, 表示, 通知, 同期, 開かない, 起動し, 動かない, エラー,
            更新, 広告, 品質, 操作性, 設定,
            funcion, funcionalidad, sugerencia*, sugiero, mejorar, mejora*, opcion de, agregar, diseno, pantalla, boton,
            no abre, no carga, version, actualizar, app, aplicacion, anuncios, error, fallo*, calidad,
            funktion*, vorschlag*, verbessern, verbesserung*, option, moglichkeit, gestaltung, bildschirm, schaltflache,
            ladt nicht, offnet nicht, version, update, app, werbung, qualitat,
            fonction, suggestion*, ameliorer, amelioration*, option, possibilite de, ecran, bouton, ne s'ouvre pas,
            ne charge pas, version, appli, application, publicite*, qualite, ergonomie,
            funcao, sugestao, sugestoes, melhorar, melhoria*, opcao de, tela, botao, nao abre, nao carrega, versao,
            aplicativo, app, anuncios, qualidade
        """,
        1.0: """
            works, working, use, using, useful, function, functionality, option, options, support for, mode, settings,
            code, file, files, class, method, output, install, installed, device, phone, game, load, loading, open, page,
            error, errors, fails, failed, broken, unable to open, 用, 操作, 设置, 系统, 手机, 打开, 速度, 使う, 使い, スマホ, 端末,
            開く, usar, uso, movil, celular, abrir, nutzen, benutzen, handy, offnen, utiliser, portable, ouvrir, usar,
            celular, abrir
        """,
    },
    SALES: {
        3.0: """
            pricing, price list, quote, quotation, get a quote, request a quote, how much is, how much does, how much would,
            how much for, what does it cost, what is the price, what is the cost, cost of, price of, discount*, coupon*,
            promo code, special offer, any offer, any offers, offers available, book a demo, schedule a demo, a demo,
            product demo, free trial, trial period, enterprise plan, upgrade our plan, upgrade to, volume discount, bulk order,
            wholesale, contact sales, talk to sales, sales team, sales rep*, account executive, want to buy,
            like to buy, looking to buy, interested in buying, interested in purchasing, want to purchase, like to purchase,
            where can i buy, where to buy, buy online, planning to buy, which one should i, which one is best,
            which is better, which is best, what would you recommend, what do you recommend, recommend me, suggest me,
            suggest a good, best suited, dealer*, dealership, distributor*, reseller*, franchise*, partnership, become a partner,
            installment*, instalment*, emi, pay monthly, financing, nearest store, store near, showroom, in stock,
            seats, licences, licenses, per user, per seat, procurement, rfp, tender, proposal,
            报价, 询价, 多少钱, 价格表, 价钱, 优惠, 打折, 折扣, 促销, 采购, 批发, 团购, 批量购买, 企业版, 试用, 演示, 购买套餐, 升级套餐,
            想买, 想购买, 怎么买, 哪里买, 哪里可以买, 推荐哪款, 哪款好, 哪个好, 代理, 加盟, 经销商, 分期, 招标, 合作,
            見積, 見積もり, 価格, 料金プラン, 値段, いくらですか, おいくら, 割引, 値引, キャンペーン, 購入したい, 買いたい, 購入を検討, 検討して,
            デモ, トライアル, 無料体験, 法人契約, 導入, 代理店, 分割払い, どこで買え, どれがおすすめ, おすすめは,
            presupuesto, cotizacion, cotizar, cuanto cuesta, cuanto vale, que precio, precios, descuento*, oferta*, demo,
            demostracion, prueba gratuita, periodo de prueba, quiero comprar, me gustaria comprar, donde comprar,
            donde puedo comprar, al por mayor, distribuidor*, franquicia, a plazos, licencias, ventas, cual me recomiendan,
            angebot*, kostenvoranschlag, preisliste, was kostet, wie viel kostet, wieviel kostet, preise, rabatt*,
            vorfuhrung, testversion, testphase, mochte kaufen, kaufen, wo kann ich kaufen, grosshandel, handler,
            vertriebspartner, ratenzahlung, lizenzen, vertrieb, welches modell, empfehlen sie,
            devis, combien coute, combien ca coute, quel est le prix, tarif*, remise*, reduction*, promotion*,
            demonstration, essai gratuit, periode d'essai, acheter, ou acheter, j'aimerais acheter, grossiste, revendeur*,
            distributeur, franchise, en plusieurs fois, licences, commercial, quel modele,
            orcamento, cotacao, quanto custa, qual o preco, qual e o preco, precos, desconto*, promocao, promocoes,
            demonstracao, teste gratis, periodo de teste, quero comprar, gostaria de comprar, onde comprar, atacado,
            revendedor*, distribuidor*, franquia, parcelado, parcelamento, licencas, vendas
        """,
        2.0: """
            price, prices, cost, costs, buy, buying, purchase, purchasing, plan, plans, package options, offer, offers, deal,
            deals, sale, demo, trial, license, licence, subscription plan*, upgrade, contract, sales, quote for,
            pricing plan*, interested in, recommend*, which one, best one, suitable for, difference between, compare,
            comparison, compared to, vs, sizes, what size, which size, custom size, dimensions, variants, specifications,
            specs, available in, do you have, do you sell, do you offer, do you deliver to, warranty period, business inquiry,
            more information about, learn more about, brochure, catalog*, showrooms, store, stores,
            价格, 费用, 购买, 买, 套餐, 方案, 合同, 推荐, 哪款, 型号, 规格, 尺寸, 区别, 对比, 有货, 现货, 门店, 专卖店, 咨询, 了解一下,
            値段, 料金, 費用, 購入, 買う, プラン, 契約, おすすめ, 違いは, 比較, サイズ, 在庫, 店舗, 資料請求, カタログ, 興味,
            precio, coste, costo, comprar, compra, plan, planes, contrato, recomiend*, diferencia entre, comparar, tamano*,
            medidas, disponible, tienda*, interesado en, interesa, catalogo, mas informacion sobre,
            preis, kosten, kauf, tarif*, vertrag, empfehl*, unterschied zwischen, vergleich*, grosse, grossen, verfugbar,
            geschaft, filiale*, interesse an, interessiert an, katalog, informationen zu, informationen uber,
            prix, cout, couts, achat, forfait*, abonnement, contrat, recommand*, difference entre, comparer, taille*,
            dimensions, disponible, magasin*, interesse par, catalogue, plus d'informations sur,
            preco, custo, compra, comprar, plano, planos, contrato, recomenda*, diferenca entre, comparar, tamanho*,
            disponivel, loja*, interesse em, interessado em, catalogo, mais informacoes sobre
        """,
        1.0: """
            expensive, cheap, budget, affordable, comfort, soft, size, model, models, brand, new customer, company, business,
            team of, best, good for, need a, looking for, 预算, 公司, 企业, 适合, 款, 牌子, 予算, 会社, 弊社, 企業, メーカー, empresa,
            modelo, presupuesto de, firma, unternehmen, budget, modell, entreprise, modele, empresa, orcamento de
        """,
    },
}

KIND_LEANS: Mapping[str, Mapping[str, float]] = {
    "request": {PRODUCT: 2.0},
    "bug": {PRODUCT: 2.0},
    "complaint": {SUPPORT: 2.0},
    "question": {SUPPORT: 1.0},
    "praise": {SUPPORT: 0.5},
    "comment": {SUPPORT: 0.5},
    "noise": {SUPPORT: 0.5},
}
"""What the kind adds: a wish or a defect is about the thing, a complaint wants somebody who answers."""


def _terms(text: str) -> Iterator[str]:
    return (term for part in text.split(",") if (term := " ".join(part.split())))


def _compile() -> dict[str, dict[str, float]]:
    """A word of two teams speaks for both."""
    found: dict[str, dict[str, float]] = {}
    for team, by_weight in _WORDS.items():
        for weight, text in by_weight.items():
            for term in _terms(text):
                held = found.setdefault(term, {})
                held[team] = max(weight, held.get(team, 0.0))
    return found


LEANINGS: tuple[tuple[str, Mapping[str, float]], ...] = tuple(_compile().items())
"""Each word and for which teams it speaks how much; its number is its place."""
