"""`KneserNey` is compared with a slow implementation and a worked example; probabilities sum to 1."""

import collections

import numpy as np
import pytest

from shared.text.ngram import KneserNey, discounts

V = 12  # the random texts use words 0 to 9
END = 0


def random_ids(tokens, seed=0):
    """Returns a random text of words 0 to 9 with a skewed distribution and repetitions; 0 is `END`."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 11)
    ids = rng.choice(10, size=tokens, p=p / p.sum())
    ids[tokens // 2 :: 3] = ids[: len(ids[tokens // 2 :: 3])]
    ids[-tokens // 4 :] = ids[: len(ids[-tokens // 4 :])]
    ids[-1] = END
    return ids.astype(np.int32)


def sentences(ids, end_id):
    """Splits a text into lists of words that begin with `<s>`; if `end_id` is None, one list without."""
    if end_id is None:
        return [list(ids)]
    texts = [["<s>"]]
    for word in ids:
        texts[-1].append(word)
        if word == end_id:
            texts.append(["<s>"])
    return [text for text in texts if len(text) > 1]


class SlowKneserNey:
    """The equations in the docstring of the module, computed one n-gram at a time."""

    def __init__(self, ids, order, vocabulary_size, end_id):
        self.order, self.v, self.end_id = order, vocabulary_size, end_id
        occurrences = [collections.Counter() for _ in range(order + 1)]
        for text in sentences(ids, end_id):
            for n in range(1, order + 1):
                for i in range(len(text) - n + 1):
                    occurrences[n][tuple(text[i : i + n])] += 1
        self.c = [{}, *occurrences[1:]]
        for n in range(1, order):
            self.c[n] = {
                g: times if g[0] == "<s>" else len({x[0] for x in occurrences[n + 1] if x[1:] == g})
                for g, times in occurrences[n].items()
            }
        self.c[1].pop(("<s>",), None)
        self.d = [None]
        for n in range(1, order + 1):
            n1, n2, n3, n4 = (sum(c == j for c in self.c[n].values()) for j in (1, 2, 3, 4))
            d = [0, 0.5, 1, 1.5]
            if n1 and n2 and n3 and n4:
                y = n1 / (n1 + 2 * n2)
                by_formula = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
                d = by_formula if min(by_formula[1:]) > 0 else d
            self.d.append(d)

    def p(self, word, history, n):
        if n == 0:
            return 1 / self.v
        lower = self.p(word, history, n - 1)
        if len(history) < n - 1:
            return lower
        h = tuple(history[len(history) - n + 1 :])
        following = {g[-1]: c for g, c in self.c[n].items() if g[:-1] == h}
        total = sum(following.values())
        if total == 0:
            return lower
        d = self.d[n]
        gamma = sum(d[min(c, 3)] for c in following.values()) / total
        c = following.get(word, 0)
        return (c - d[min(c, 3)]) / total + gamma * lower

    def log_prob(self, ids):
        return [
            np.log(self.p(text[i], text[:i], self.order))
            for text in sentences(ids, self.end_id)
            for i in range(len(text))
            if text[i] != "<s>"
        ]


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("end_id", [END, None])
@pytest.mark.parametrize("vocabulary_size", [V, 10**9])
def test_log_prob_equals_the_slow_implementation(order, end_id, vocabulary_size):
    ids = random_ids(250)
    # The words are spread over the vocabulary: (10^9)^6 does not fit into 63 bits.
    spread = vocabulary_size // V
    text = np.concatenate([random_ids(60, seed=1), [10, 1, 2, 11, END, END, 3, 10, 1]]) * spread
    slow = SlowKneserNey(ids * spread, order, vocabulary_size, end_id)
    model = KneserNey.fit(ids * spread, order, vocabulary_size, end_id)
    log_prob = model.log_prob(text)
    assert log_prob.dtype == np.float64
    np.testing.assert_allclose(log_prob, slow.log_prob(text), rtol=1e-10)
    if order > 1:  # the formula was used, not only the fallback
        assert any(d != [0, 0.5, 1, 1.5] for d in slow.d[1:])


def test_a_worked_example():
    a, b, end = 0, 1, 2  # the words
    model = KneserNey.fit([a, b, end, a, end], order=2, vocabulary_size=3, end_id=end)
    # c(<s> a) = 2, c(a b) = c(b end) = c(a end) = 1; before a: <s>; before b: a; before end: a, b.
    # The discounts are 0.5, 1 and 1.5: no n-gram has c = 3.
    # p_1(a) = p_1(b) = (1 - 0.5) / 4 + 2 / 4 / 3 = 7 / 24; p_1(end) = (2 - 1) / 4 + 2 / 4 / 3.
    # p_2(a | <s>) = (2 - 1) / 2 + 1 / 2 * 7 / 24; p_2(b | a) = (1 - 0.5) / 2 + 1 / 2 * 7 / 24; ...
    p = np.exp(model.log_prob([a, b, end, a, end, b]))
    np.testing.assert_allclose(p * 48, [31, 19, 34, 31, 22, 7], rtol=1e-12)


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("end_id", [END, None])
def test_probabilities_sum_to_one_after_any_context(order, end_id):
    ids = random_ids(400)
    model = KneserNey.fit(ids, order, V, end_id)
    rng = np.random.default_rng(2)
    seen = [ids[i : i + 7] for i in (0, *rng.integers(0, 390, size=8))]
    unseen = [*rng.integers(0, V, size=(8, 7)), [11], [10, 11, 10]]
    at_start = [[], [1], [1, 2], [5, END], [3, END, 9]]
    at_end = [ids, ids[-1:], ids[-3:]]
    for context in [*seen, *unseen, *at_start, *at_end]:
        p = np.exp([model.log_prob(np.append(context, w).astype(int))[-1] for w in range(V)])
        assert np.all(p > 0)  # unseen words too
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)


def test_discounts():
    counts = np.repeat([0, 1, 2, 3, 4, 7], [6, 10, 5, 3, 2, 1])
    # Y = 10 / (10 + 2 * 5) = 1 / 2
    expected = [0, 1 - 2 / 2 * 5 / 10, 2 - 3 / 2 * 3 / 5, 3 - 4 / 2 * 2 / 3]
    np.testing.assert_allclose(discounts(counts), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "n", [[0, 5, 3, 2], [9, 0, 3, 2], [9, 5, 0, 2], [9, 5, 3, 0], [9, 1, 9, 1]]
)
def test_discounts_fall_back_where_the_formula_fails(n):
    np.testing.assert_array_equal(discounts(np.repeat([1, 2, 3, 4], n)), [0, 0.5, 1, 1.5])


def test_a_sentence_does_not_depend_on_its_neighbours():
    model = KneserNey.fit(random_ids(400), 4, V, END)
    texts = np.split(ids := random_ids(100, seed=3), np.flatnonzero(ids == END)[:-1] + 1)
    alone = [model.log_prob(text) for text in texts]
    np.testing.assert_array_equal(model.log_prob(ids), np.concatenate(alone))
    np.testing.assert_array_equal(
        model.log_prob(np.concatenate(texts[::-1])), np.concatenate(alone[::-1])
    )


def test_fit_does_not_depend_on_the_order_of_the_sentences():
    ids = random_ids(400)
    texts = np.split(ids, np.flatnonzero(ids == END)[:-1] + 1)
    text = random_ids(100, seed=3)
    np.testing.assert_allclose(
        KneserNey.fit(ids, 4, V, END).log_prob(text),
        KneserNey.fit(np.concatenate(texts[::-1]), 4, V, END).log_prob(text),
        rtol=1e-12,
    )


def test_running_text_has_context_across_line_ends():
    order = 4
    model = KneserNey.fit(random_ids(400), order, V)
    ids = random_ids(60, seed=3)
    log_prob = model.log_prob(ids)
    for t in range(len(ids)):
        window = ids[max(0, t - order + 1) : t + 1]
        assert log_prob[t] == model.log_prob(window)[-1]
    with_sentences = KneserNey.fit(random_ids(400), order, V, END).log_prob(ids)
    assert not np.allclose(log_prob, with_sentences)


@pytest.mark.parametrize("end_id", [END, None])
def test_texts_shorter_than_the_order(end_id):
    model = KneserNey.fit([3], 5, V, end_id)
    assert model.log_prob([]).shape == (0,)
    p = np.exp([model.log_prob([w])[0] for w in range(V)])
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    assert np.argmax(p) == (
        0 if end_id is None else 3
    )  # running text has no context before its first word


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"order": 0}, "`order` must be at least 1; received 0"),
        ({"vocabulary_size": 0}, "`vocabulary_size` must be at least 1; received 0"),
        ({"end_id": 3}, "`end_id` must be None or from 0 to 2; received 3"),
        ({"end_id": -1}, "`end_id` must be None or from 0 to 2; received -1"),
        ({"ids": []}, "`ids` must have at least one word; received none"),
        ({"ids": [0, 3, 2]}, "`ids` must be from 0 to 2; received 3"),
        ({"ids": [0, -1, 2]}, "`ids` must be from 0 to 2; received -1"),
        ({"ids": [0.5]}, r"`ids` must be a vector of integers; received float64 of shape \(1,\)"),
        (
            {"ids": [[0, 1]]},
            r"`ids` must be a vector of integers; received int64 of shape \(1, 2\)",
        ),
    ],
)
def test_errors_name_the_argument_and_what_was_received(changed, message):
    arguments = {"ids": [0, 1, 2], "order": 2, "vocabulary_size": 3, "end_id": 2}
    with pytest.raises(ValueError, match=f"^{message}$"):
        KneserNey.fit(**{**arguments, **changed})


@pytest.mark.parametrize("ids", [[3], [-1], [0.5], [[0]]])
def test_log_prob_validates_ids_as_fit_does(ids):
    with pytest.raises(ValueError, match=r"^`ids` must be .*; received "):
        KneserNey.fit([0, 1, 2], 2, 3, end_id=2).log_prob(ids)
