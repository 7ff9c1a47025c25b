"""What is read as pinyin and what is copied: many forms of input, with the expected answers."""

import re

import numpy as np
import pytest

# Text; its syllables with tones; its conversion, with 字 for each converted syllable.
FORMS = [
    # Usual forms.
    ("ni hao", "ni hao", "字字"),
    ("nihao", "ni hao", "字字"),
    ("ni3hao3", "ni3 hao3", "字字"),
    ("nǐhǎo", "ni3 hao3", "字字"),
    ("Tā, hen3hǎo!", "ta1 hen3 hao3", "字,字字!"),
    ("ma0 ma5", "ma ma5", "字字"),
    ("", "", ""),
    # Letters and marks in several code points (NFD), half composed, in another order.
    ("ni\u030c ha\u030co", "ni3 hao3", "字字"),
    ("nu\u0308", "nv", "字"),
    ("nu\u0308\u030c", "nv3", "字"),
    ("n\u00fc\u030c", "nv3", "字"),
    ("nu\u030c\u0308", "nv3", "字"),
    ("n\u01d4\u0308", "nv3", "字"),
    ("lu\u03084", "lv4", "字"),
    ("l\u01d8 l\u01da", "lv2 lv3", "字字"),
    ("L\u00dc4", "lv4", "字"),
    ("L\u00fc", "lv", "字"),
    ("L\u01db L\u01d9", "lv4 lv3", "字字"),
    # ü written otherwise, and after j, q, x, y.
    ("lv4 nv3", "lv4 nv3", "字字"),
    ("lu:4 nu:3 Lu: LU:", "lv4 nv3 lv", "字字字LU:"),
    ("nu:er lu:e", "nv er lve", "字字字"),
    ("nve lve nüe lüe nue lue", "nve lve nve lve nve lve", "字字字字字字"),
    ("lv\u00e8 lu\u00e8 nu\u00e8 n\u00fc\u00e8", "lve4 lve4 nve4 nve4", "字字字字"),
    ("jv qv4 xv yv", "ju qu4 xu yu", "字字字字"),
    ("jü qü4 xü yü", "ju qu4 xu yu", "字字字字"),
    ("jǘ qüan yüe4 xún", "ju2 quan yue4 xun2", "字字字字"),
    ("ju:4 xu:e2", "ju4 xue2", "字字"),
    # A tone mark on another vowel; a breve; a tone mark and the same digit.
    ("haó be\u00ec líu", "hao2 bei4 liu2", "字字字"),
    ("gúi dùo xìa", "gui2 duo4 xia4", "字字字"),
    ("n\u012d h\u0103o", "ni3 hao3", "字字"),
    ("ni\u0306 ha\u0306o", "ni3 hao3", "字字"),
    ("nǐ3 hǎo3", "ni3 hao3", "字字"),
    ("xī'ān xīān", "xi1 an1 xi1 an1", "字字字字"),
    # Letters of textbooks, full width.
    ("m\u0251 \u0261\u0251n1 h\u0251\u030co", "ma gan1 hao3", "字字字"),
    ("ｎｉ　ｈａｏ", "ni hao", "字字"),
    ("ＮＩ　ＨＡＯ", "ni hao", "字字"),
    ("ni３ｈａｏ３", "ni3 hao3", "字字"),
    # Syllables without a vowel, and ê.
    ("ńg ň ǹ ng4", "ng2 n3 n4 ng4", "字字字字"),
    ("ḿ m̀ hng", "m2 m4 hng", "字字字"),
    ("ê ê̄ ế ê̌ ề e\u0302\u0300", "ei ei1 ei2 ei3 ei4 ei4", "字字字字字字"),
    ("lo yo dei3 zhei4 shei2", "lo yo dei3 zhei4 shei2", "字字字字字"),
    # Erhua.
    ("huar", "hua r", "字儿"),
    ("hua1r", "hua1 r", "字儿"),
    ("hua1r5 huār", "hua1 r hua1 r", "字儿字儿"),
    ("huar1", "hua1 r", "字儿"),
    ("hua1 r5 le", "hua1 r le", "字儿字"),
    ("hua r", "hua r", "字儿"),
    ("nǎr zhèr", "na3 r zhe4 r", "字儿字儿"),
    ("yidianr", "yi dian r", "字字儿"),
    ("yi1dian3r5hao3", "yi1 dian3 r hao3", "字字儿字"),
    ("xiaoháir", "xiao hai2 r", "字字儿"),
    ("huaren er nver", "hua ren er nv er", "字字字字字"),
    ("R yuyan", "yu yan", "R字字"),
    ("r5", "", "r5"),
    # Apostrophes separate between letters only.
    ("xi'an xian", "xi an xian", "字字字"),
    ("xi1'an1 Xī’ān", "xi1 an1 xi1 an1", "字字字字"),
    ("xi\u02bcan xi\uff07an xi\u2018an", "xi an xi an xi an", "字字字字字字"),
    ("xi\u2032an xi`an xi\u00b4an", "xi an xi an xi an", "字字字字字字"),
    ("ta shuo 'ni hao' le", "ta shuo ni hao le", "字字'字字'字"),
    ("ta shuo ‘ni hao’ ma", "ta shuo ni hao ma", "字字‘字字’字"),
    ("ta shuo “ni hao” ma", "ta shuo ni hao ma", "字字“字字”字"),
    ("'ta'", "ta", "'字'"),
    ("xi ' an", "xi an", "字'字"),
    # A digit is a tone unless another one follows.
    ("you2016nian", "you nian", "字2016字"),
    ("wo you 3 ge", "wo you ge", "字字3字"),
    ("ni33 ma12", "ni ma", "字33字12"),
    ("ni3 3 hao3.5", "ni3 hao3", "字3字.5"),
    ("ni３３", "ni", "字３３"),
    ("ma6 ma7hao", "ma ma hao", "字6字7字"),
    ("3.14 he 2.71", "he", "3.14字2.71"),
    # Capitals are abbreviations where the text has lower-case letters.
    ("wo he AI liao", "wo he liao", "字字AI字"),
    ("ta shi CEO", "ta shi", "字字CEO"),
    ("BEIJING", "bei jing", "字字"),
    ("WO3 AI4 NI3!", "wo3 ai4 ni3", "字字字!"),
    ("BĚIJĪNG LÜ4", "bei3 jing1 lv4", "字字字"),
    ("他 AI", "ai", "他字"),
    ("Beijing he Xi'an", "bei jing he xi an", "字字字字字"),
    ("BeiJing", "bei jing", "字字"),
    ("A4 zhi", "zhi", "A4字"),
    ("wo de LÜ4 ka", "wo de ka", "字字LÜ4字"),
    # Spaces and invisible characters beside syllables.
    ("ni\u00a0hao\u2003ma", "ni hao ma", "字字字"),
    ("xi\u200ban xi\u00adan\ufeff", "xi an xi an", "字字字字"),
    ("\ufeffni\u2060hao\tma", "ni hao ma", "字字字"),
    ("ni\nhao\u2028ma", "ni hao ma", "字\n字\u2028字"),
    # Combining marks without a Latin base.
    ("❤\ufe0fni hao", "ni hao", "❤\ufe0f字字"),
    ("❤\ufe0f ni\u0915\u093eni hao", "ni ni hao", "❤\ufe0f字\u0915\u093e字字"),
    ("\u0941ma", "ma", "\u0941字"),
    # Text that is not pinyin is copied.
    ("hello  world", "", "hello  world"),
    ("café señor", "", "café señor"),
    ("mp3 iPhone WiFi", "", "mp3 iPhone WiFi"),
    ("123 \u00a0 ４５", "", "123 \u00a0 ４５"),
    ("nǐ4 hǎ̀o ni\u20dd", "", "nǐ4 hǎ̀o ni\u20dd"),
    ("Привет ｛漢字｝ \U00020bb7", "", "Привет ｛漢字｝ \U00020bb7"),
    ("\x1f\x1e ni", "ni", "\x1f\x1e字"),
]


def test_there_are_many_forms():
    assert len({text for text, *_ in FORMS}) == len(FORMS) > 60


@pytest.fixture(scope="module")
def answers(toned, ask):
    """The answers to all `FORMS` in one request of each signature."""
    texts = [text for text, *_ in FORMS]
    return {name: ask(toned, name, texts) for name in ("segment", "serving_default", "n_best")}


@pytest.mark.parametrize("number", range(len(FORMS)), ids=lambda i: FORMS[i][0])
def test_form(answers, number, assets):
    _, syllables, expected = FORMS[number]
    segment = answers["segment"]
    found = [s for s in segment["syllables"][number] if s]
    assert " ".join(found) == syllables
    assert segment["length"][number] == len(found)
    pieces = [re.escape(part) for part in re.split("字", expected)]
    pattern = re.compile("([\u3400-\u9fff])".join(pieces), re.DOTALL)
    outputs = [answers["serving_default"]["outputs"][number]]
    outputs += [output for output in answers["n_best"]["outputs"][number] if output]
    for output in outputs:
        match = pattern.fullmatch(output)
        assert match, output
        characters, readings = iter(match.groups()), assets.readings
        for syllable in found:
            if syllable == "r":
                continue
            code = readings.codes[syllable]
            possible = {readings.characters[i] for i in readings.possible()[code] if i >= 0}
            assert next(characters) in possible
    assert np.isfinite(answers["n_best"]["score"][number]).all()
