"""Judgement that learns: which team, which kind, how it feels, how soon, from examples. Every module is pure.

Before anybody has taught us, the words of our lexicons judge (`leanings`, and `services.router.classify`): the prior. A
learnt model starts from it and moves away as far as its examples say, so the first few corrections improve it and cannot
ruin it. The same examples in the same order make the same bytes, and a model's version is the hash of those: whoever
keeps the examples can build it again.

    leanings   a text's words → which of the three teams they speak for
    evidence   scan and prior → the numbers that every head sees beside the text
    grams      folded text → its words and n-grams, hashed
    learner    examples → a model, and how sure it may be (held-back examples tell)
    trained    the model: text → what each head says; its bytes; which words did it

How an example becomes known, where a model is kept and when it is taken into use is for the caller. numpy is loaded
only where there is a model.
"""
