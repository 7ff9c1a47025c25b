"""The baselines without a network."""

import numpy as np

from apps.pinyin_conversion import baselines
from shared.text.ngram_table import TrigramTable


def test_baselines(small_readings, tmp_path):
    """吗 is the most frequent ma; 马 follows 西; and 妈 has the first tone."""
    number = small_readings.characters.index
    sentences = [[number("西"), number("马")]] * 5 + [[number("吗")]] * 8 + [[number("妈")]] * 4
    trigram = TrigramTable.build(sentences, small_readings.size, tmp_path / "trigram.npz")
    counts = np.zeros((small_readings.size, 6))
    for sentence, tones in ((sentences[0], [1, 3]), (sentences[5], [5]), (sentences[13], [1])):
        for c, tone in zip(sentence, tones, strict=True):
            counts[c, tone] += sentences.count(sentence)
    texts = ["ma", "xi ma", "ma1", "", "xi1 ma3"]
    codes = [[small_readings.codes[s] for s in text.split()] for text in texts]
    outputs = baselines.convert(trigram, small_readings, counts, codes, beam_width=4)
    assert outputs["most frequent character"] == ["吗", "西吗", "妈", "", "西马"]
    assert outputs["modified Kneser-Ney trigram"] == ["吗", "西马", "妈", "", "西马"]
