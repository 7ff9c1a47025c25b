"""Sentences that need no download: templates of this project, filled with words of `jieba`.

The templates and phrases are written for this purpose. Nouns, verbs, places and adjectives are the most
frequent of the dictionary of `jieba`, sampled in proportion to the square root of their frequency. The
sentences are grammatical more often than true. Their pinyin is by `pypinyin`. Another version of either
package may give other sentences: a result records their SHA-256.
"""

import functools
import random

from .lexicon import annotate

SENTENCES = 16_000

PHRASES = """
    who: 我 你 他 我们 你们 他们 大家 老师 学生 医生 护士 司机 经理 同事 邻居 警察 记者 律师 教授 校长
        作家 画家 工人 农民 厨师 演员 导演 科学家 工程师 妈妈 爸爸 哥哥 姐姐 弟弟 妹妹 爷爷 奶奶 叔叔 阿姨
        朋友 孩子 客人 老板 同学 室友 教练 队员 编辑 翻译 会计 王先生 李小姐 张老师 刘经理 陈医生 赵师傅
    when: 今天 明天 昨天 前天 后天 早上 上午 中午 下午 晚上 半夜 周末 星期一 星期三 星期五 上个月 下个月
        去年 今年 明年 春天 夏天 秋天 冬天 刚才 现在 最近 以前 平时 有时候 每天 假期里 下班以后 吃饭之前
        开会的时候 放学以后 三点钟 八点半 二月初 十月底
    like: 喜欢 讨厌 打算 希望 决定 愿意 需要 可以 应该 不想 开始 继续 经常 正在 不能 必须
    do: 看书 写信 做饭 跑步 唱歌 游泳 开会 上课 睡觉 聊天 打电话 喝咖啡 买东西 修理电脑 学习汉语 准备考试
        研究生物 整理房间 照顾孩子 等公共汽车 听音乐 看电影 打篮球 写报告 做实验 检查身体 参观展览 练习钢琴
        收拾行李 洗衣服 骑自行车 发邮件 散步 钓鱼 爬山 拍照片 讲故事 看新闻 写代码 分析数据 打扫卫生
    """
WORD_CLASSES = {  # name: part of speech, number of words
    "noun": ("n", 3000),
    "verb": ("v", 1000),
    "quality": ("a", 400),
    "place": ("ns", 600),
}

TEMPLATES = """
    who when 在 place do
    when who 在 place verb 了 noun
    who like do
    who like verb noun
    when who like verb noun
    who 和 who 一起去 place verb noun
    who 的 noun 很 quality
    place 的 noun 非常 quality
    这个 noun 比那个 noun 更 quality
    noun 和 noun 都很 quality
    who 说 place 的 noun 不 quality
    who 把 noun 放在 noun 里
    who 给 who 买了 noun
    who 告诉 who noun 的 noun
    如果 noun 不 quality who 就不 verb
    因为 noun quality 所以 who like verb
    关于 noun 的 noun 已经 verb 了
    when place 没有 quality 的 noun
    who 是 who
    who 是 who 的 who
    who 不是 who
    who 是 place 人
    who 是 do 的
    who 是 quality 的 who
    这是 who 的 noun
    那是 place 的 noun
    who 有 noun
    who 没有 noun
    who 在 place
    who 住在 place
    who 从 place 来
    who 想去 place do
    who 会 do 吗
    who 叫什么名字
    who 是谁
    你好 who
    谢谢 who
    when place 的天气很 quality
    """


def pairs(split):
    """Returns the pairs of "train", "valid" or "test"; no sentence is in two splits."""
    return _splits()[split]


@functools.cache
def _splits():
    rng = random.Random(1)
    words, name = {}, None
    for word in PHRASES.split():
        if word.endswith(":"):
            name = word.removesuffix(":")
            words[name] = {}
        else:
            words[name][word] = 1.0
    for name, (part_of_speech, count) in WORD_CLASSES.items():
        frequent = annotate.dictionary(part_of_speech)[:count]
        words[name] = {word: n**0.5 for word, n in frequent}
    words = {name: (list(weights), list(weights.values())) for name, weights in words.items()}
    templates = [template.split() for template in TEMPLATES.strip().split("\n")]
    sentences = {}  # a dict keeps their order and drops repetitions
    while len(sentences) < SENTENCES:
        template = rng.choice(templates)
        parts = (rng.choices(*words[slot])[0] if slot in words else slot for slot in template)
        sentences["".join(parts)] = None
    texts = list(sentences)
    texts = {"valid": texts[:500], "test": texts[500:1000], "train": texts[1000:]}
    return {split: annotate.sentences(lines, split) for split, lines in texts.items()}
