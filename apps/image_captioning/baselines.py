"""Captions without a language model: a constant one, and those of similar training images."""

import collections

import numpy as np
import tqdm

from shared.text.languages import bleu_tokenizer

from .metrics import ngrams, words

NEIGHBOURS = 60  # training images whose captions compete
COMPARED = 125  # of the competing captions, the most similar ones with which each is compared


def constant(train, valid, language, candidates=100):
    """Returns the training caption that has the highest BLEU-4 if it is given to every valid image.

    Args:
        train, valid: lists of lists of captions, the references of each image.
        language: of the captions; see `words`.
        candidates: number of captions that are tried, those that occur most often.
    """
    import sacrebleu  # an optional package, which `metrics.scores` asks for

    counts = collections.Counter(caption for captions in train for caption in captions)
    # Captions that occur once are all alike: those with the most frequent words are tried.
    frequency = collections.Counter(w for c in counts for w in set(words(c, language)))
    common = lambda c: np.mean([frequency[w] for w in words(c, language)] or [0])  # noqa: E731
    typical = sorted(counts, key=lambda c: (counts[c], common(c)), reverse=True)[:candidates]
    count = max(map(len, valid))
    streams = [[refs[i] if i < len(refs) else None for refs in valid] for i in range(count)]
    metric = sacrebleu.BLEU(lowercase=True, tokenize=bleu_tokenizer(language), force=True)
    score = lambda c: metric.corpus_score([c] * len(valid), streams).score  # noqa: E731
    return max(typical, key=score)


def consensus(train_features, train_captions, features, language):
    """Returns a training caption for each image: the consensus of similar images (Devlin et al. 2015).

    The captions of the nearest training images compete. The one that is most similar to the others, by the
    mean cosine of its 125 greatest similarities, is returned. Captions are compared by the tf-idf of their
    n-grams, n = 1 to 4, and images by the cosine of their features.

    Args:
        train_features: float (train images, features).
        train_captions: list of lists of captions.
        features: float (images, features).
        language: of the captions; see `words`.

    Returns:
        list of captions.
    """
    vectors = _tf_idf(train_captions, language)
    features, train_features = _normalized(features), _normalized(train_features)
    results = []
    for row in tqdm.tqdm(features, desc="consensus", mininterval=1, unit="image"):
        nearest = np.argsort(-(train_features @ row))[:NEIGHBOURS]
        captions = [c for i in nearest for c in train_captions[i]]
        dense = _dense([vector for i in nearest for vector in vectors[i]])
        alike = np.sort(dense @ dense.T, 1)[:, ::-1]
        # The first is the caption itself.
        results.append(captions[int(np.argmax(alike[:, 1 : 1 + COMPARED].mean(1)))])
    return results


def _tf_idf(captions, language):
    """Returns (n-gram numbers, weights) of each caption of each image; each n is normalized by itself."""
    grams = [[ngrams(words(c, language)) for c in of_image] for of_image in captions]
    images_with = collections.Counter(gram for of_image in grams for gram in set().union(*of_image))
    number = {gram: i for i, gram in enumerate(images_with)}
    idf = np.log(len(captions) / np.array([*images_with.values()]))

    def vector(counts):
        ids = np.array([number[gram] for gram in counts], np.int64)
        sizes = np.array([len(gram) for gram in counts], np.int64)
        weights = np.array([*counts.values()]) * idf[ids]
        norms = np.sqrt(np.bincount(sizes, weights**2, minlength=5))
        return ids, weights / np.maximum(norms[sizes], 1e-9) / 2

    return [[vector(counts) for counts in of_image] for of_image in grams]


def _dense(vectors):
    """Returns sparse vectors as one array, float32 (vectors, different n-grams)."""
    lengths = [len(ids) for ids, _ in vectors]
    rows = np.repeat(np.arange(len(vectors)), lengths)
    used, columns = np.unique(np.concatenate([ids for ids, _ in vectors]), return_inverse=True)
    values = np.zeros((len(vectors), len(used)), np.float32)
    values[rows, columns] = np.concatenate([weights for _, weights in vectors])
    return values


def _normalized(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
