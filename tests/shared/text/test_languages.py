"""Languages without spaces, and the tokenizers of BLEU, by codes of ISO 639."""

import pytest
from sacrebleu import BLEU

from shared.text.languages import bleu_tokenizer, is_unseparated


@pytest.mark.parametrize(
    ("codes", "unseparated", "tokenizer"),
    [
        ("zh zho chi cmn yue zh-TW zho_Hans ZH cn", True, "zh"),
        ("ja jpn jp ja_JP th tha lo my khm bo", True, "char"),
        ("ko kor", False, "char"),
        ("en de deu jav zha thx fr-CA", False, "13a"),
    ],
)
def test_codes(codes, unseparated, tokenizer):
    for code in codes.split():
        assert is_unseparated(code) == unseparated, code
        assert bleu_tokenizer(code) == tokenizer, code
    text = ["a b c d e f"]
    assert BLEU(tokenize=tokenizer).corpus_score(text, [text]).score == pytest.approx(100)
