"""Languages by their codes of ISO 639-1, -2 and -3, and the usual "cn" and "jp"."""

import re

CHINESE = set(
    """
    zh zho chi cn cdo cjy cmn cnp cpx csp czh czo gan hak hsn lzh ltc mnp nan och wuu yue
    """.split()  # noqa: SIM905 (a list would be one line each)
)
UNSEPARATED = CHINESE | set(
    """
    ja jpn jp ryu th tha tts nod sou lo lao km khm my mya bur mnw shn khb bo bod tib dz dzo
    """.split()  # noqa: SIM905
)
BLEU_BY_CHARACTER = (UNSEPARATED - CHINESE) | {"ko", "kor"}


def is_unseparated(language):
    """Returns whether a language is written without spaces between its words.

    Args:
        language: a code of ISO 639, perhaps with subtags after "-" or "_", such as "zh-TW" or "zho_Hans".

    Example:

    >>> is_unseparated("zh-TW"), is_unseparated("jpn"), is_unseparated("jav")
    (True, True, False)
    """
    return _code(language) in UNSEPARATED


def bleu_tokenizer(language):
    """Returns the tokenizer of sacrebleu's BLEU for a language: "zh", "char" or "13a".

    Args:
        language: as for `is_unseparated`.

    Example:

    >>> bleu_tokenizer("yue"), bleu_tokenizer("th"), bleu_tokenizer("de_DE")
    ('zh', 'char', '13a')
    """
    code = _code(language)
    return "char" if code in BLEU_BY_CHARACTER else "zh" if code in CHINESE else "13a"


def _code(language):
    return re.split("[-_.@]", language)[0].lower()
