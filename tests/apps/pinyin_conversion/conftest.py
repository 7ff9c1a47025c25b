"""Assets of a few sentences, small enough to be read."""

import pytest

from apps.pinyin_conversion import data
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.lexicon.readings import Readings

PAIRS = [
    ("ta1 shi4 yan2 jiu1 sheng1 wu4 de5", "他是研究生物的"),
    ("wo3 men5 qu4 xi1 an1", "我们去西安"),
    ("xian4 zai4 hen3 hao3", "现在很好"),
    ("lv3 xing2 yi4 tian1", "旅行一天"),
    ("ta1 hen3 hao3", "他很好"),
    ("fang1 an4 hen3 hao3", "方案很好"),
]


@pytest.fixture(scope="session")
def assets(tmp_path_factory):
    """`data.Assets` of `PAIRS`."""
    train = data.PinyinSplit("train", PAIRS)
    return data.build_assets(TINY, train, tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="session")
def small_readings(tmp_path_factory):
    """`Readings` of a dozen characters."""
    path = tmp_path_factory.mktemp("small") / "readings.txt"
    path.write_text(
        "an\t安1 案4\nle\t了5\nliao\t了3\nma\t吗5 马3 妈1 骂4\nxi\t西1\nxian\t现4 先1\nyi\t一1 亿4\n",
        "utf-8",
    )
    return Readings(path)
