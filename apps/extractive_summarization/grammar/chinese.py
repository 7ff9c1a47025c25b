"""Chinese sentences from a grammar whose kept words are known.

    sentence     (opening，) clause (，closing)。
    clause       noun phrase, times and places, predicate
    noun phrase  determiner, modifiers with 的, noun

Kept is the core of the main clause. What is kept depends on more than the characters beside a character:

    dropped                                         kept
    modifiers: 刚刚出售了酒店的银行                 after 所有, 凡是, 唯一: 所有出售了酒店的银行都
    places with 的: 奥斯陆的银行                    owners with 的 of a relation: 银行的董事长
    times and places: 周一在图书馆会见了            arguments: 于周一举行, 放在图书馆里
    the agent of 被: 被银行出售了                   the agent of 由: 由银行经营
    表示, 宣布: what was said is kept               否认, 谎称: all is kept
    clauses with 之后, 因为, 尽管                   clauses with 如果, 只要, 除非
"""

from .words import drop, keep, parse_lexicon, tidy

LEXICON = parse_lexicon("""
    name: 王芳 李建国 张敏 刘洋 陈静 赵磊 黄丽 周涛 吴倩 徐刚 孙悦 马超 胡杰 林娜 郭峰 何平
    place: 奥斯陆 波尔图 日内瓦 拉各斯 利马 大阪 塔林 卑尔根 基多 都柏林 突尼斯 哈瓦那 珀斯 根特 成都 青岛
    person: 部长 市长 法官 州长 工程师 医生 教练 编辑 议员 检查员 教师 农民 建筑师 水手 导演 记者
    company: 银行 公司 医院 大学 博物馆 航空公司 啤酒厂 造船厂 报社 出版社 基金会 工会 法院 协会 研究所
    thing: 报告 合同 计划 提案 预算 法案 油画 信件 地图 数据库 模型 疫苗 小说 雕像 合约
    building: 桥梁 工厂 酒店 体育场 隧道 图书馆 监狱 码头 剧院 车站 仓库 诊所
    event: 会议 审判 音乐节 听证会 音乐会 选举 比赛 辩论 拍卖会 排练 展览
    privative: 前 副 代理 候任 假 冒牌
    adjective_person: 年轻的 年老的 谨慎的 富有的 受欢迎的 经验丰富的 紧张的 退休的 直率的
    adjective_thing: 秘密 新 详细的 有争议的 著名的 昂贵的 罕见的 被遗忘的 手写的
    adjective_company: 大型 小型 富有的 地方 知名 实力雄厚的 陷入困境的 年轻的
    adjective_building: 旧 大型 废弃的 现代化的 著名的 木制 新 狭窄的 优美的
    adjective_event: 漫长的 年度 热闹的 公开 紧张的 简短的
    did_thing: 批准了 否决了 提交了 购买了 出售了 公布了 丢失了 批评了 复制了 审查了 签署了
    did_building: 开放了 关闭了 购买了 出售了 修复了 拆除了 粉刷了 检查了 参观了 设计了
    did_person: 会见了 聘用了 解雇了 表扬了 起诉了 感谢了 接替了 询问了 支持了 邀请了
    done_thing: 批准 否决 公布 偷走 复制 送出 签署
    done_building: 关闭 修复 拆除 检查 粉刷 疏散
    do_thing: 批准 否决 提交 购买 出售 公布 复制 签署 审查
    do_building: 开放 关闭 购买 出售 修复 拆除 粉刷 检查
    want: 打算 计划 拒绝 答应 未能 没有 决定 希望 同意 不愿 试图
    did_event: 结束了 开始了 取消了 失败了 中断了
    event_on: 于{}举行 推迟到{} 定在{} 提前到{}
    state_building: 不安全 快满了 太贵 尚未完工 几乎空了
    state_company: 破产了 规模太小 很受欢迎 不再独立 陷入困境
    state_thing: 太贵 过时了 不完整 很受欢迎 并非真品
    relation: 主任 董事长 所有者 创始人 经理 成员 对手
    owned_building: 由{}经营 归{}所有 由{}管理
    owned_company: 由{}经营 由{}创办 依赖{} 归{}所有
    owned_thing: 由{}起草 受到{}影响 归{}所有
    put: 放在 藏在 存放在 留在
    lies_person: 来自{} 搬到了{} 到达了{} 留在了{}
    lies_company: 设在{} 搬到了{} 来自{}
    lies_building: 位于{} 坐落于{}
    say: 表示 宣布 报道 证实 补充说 解释说
    deny: 否认 怀疑 不相信 谎称 没有声称
    day: 周一 周二 周三 周四 周五 周六 周日
    time: 上周 今天上午 两年前 昨天 今年年初 当天晚上 去年夏天 三月初 十月底
    manner: 悄悄地 终于 不情愿地 仔细地 突然 正式 自豪地
    degree: 从未 几乎没有 差点
    aside: 然而 例如 据了解 和往常一样 换句话说 当然 看来
    topic: 事故 风暴 贸易 老城区 两姐妹 气候变化 战争
    superlative: 最大 最古老 最富有 最小 最知名
""")
CLASSIFIERS = {
    "person": "这位 那位 一位 一名".split(),  # noqa: SIM905
    "company": "这家 那家 一家".split(),  # noqa: SIM905
    "thing": "这份 那份 一份".split(),  # noqa: SIM905
    "building": "这座 那座 一座".split(),  # noqa: SIM905
    "event": "这场 那场 一场".split(),  # noqa: SIM905
}


class Grammar:
    """Writes random sentences.

    Args:
        rng: `random.Random`.
    """

    def __init__(self, rng):
        self.rng = rng

    def sentence(self):
        """Returns a sentence, a list of (token, label); the last token is a kept full stop."""
        return tidy([*self._sentence(), *keep("。")])

    def _pick(self, name):
        return self.rng.choice(LEXICON[name])

    def _chance(self, p):
        return self.rng.random() < p

    def _sentence(self):
        form = self.rng.random()
        if form < 0.12:  # what was said is the main clause
            return drop(self._speaker(), self._pick("say"), "，") + self._clause(3)
        if form < 0.22:
            return self._clause(3) + drop("，", self._speaker(), self._pick("say"))
        if form < 0.32:
            return self._noun("person", 1) + keep(self._pick("deny")) + self._clause(1)
        if form < 0.44:
            return self._dropped_clause() + drop("，") + self._clause(3)
        if form < 0.52:
            word = self.rng.choice(["如果", "只要"])
            return keep(word) + self._clause(1) + keep("，") + self._clause(1)
        if form < 0.64:
            return drop(self._opening(), "，") + self._clause(3)
        if form < 0.74:
            return (
                self._clause(3)
                + drop("，", self.rng.choice(["因为", "尽管"]))
                + drop(self._clause(1))
            )
        if form < 0.8:
            return self._clause(1) + keep("，除非") + self._clause(1)
        return self._clause(3)

    def _dropped_clause(self):
        clause = self._clause(1)
        if self._chance(0.5):
            return drop(self.rng.choice(["由于", "尽管", "因为"]), clause)
        return drop("在", clause, self.rng.choice(["之后", "之前", "的同时", "期间"]))

    def _speaker(self):
        return self._noun(self.rng.choice(["person", "company"]), 1)

    def _opening(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            return drop("据", self._noun("company", 1), self.rng.choice(["报道", "介绍"]))
        return drop(self._time() if kind == 1 else self._pick("aside"))

    def _time(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            return self._pick("day")
        if kind == 1:
            return f"{self.rng.randrange(1950, 2026)} 年 {self.rng.randrange(1, 13)} 月"
        return self._pick("time")

    def _adverbials(self, depth):
        """Returns what may stand between subject and verb: times and places that are no arguments."""
        tokens = drop(self._time()) if self._chance(0.4) else []
        if depth and self._chance(0.2):
            tokens += drop("在", self._noun("building", depth - 1))
        elif self._chance(0.15):
            tokens += drop("在", self._pick("place"))
        return tokens

    def _clause(self, depth):
        """Returns a clause whose core is kept; `depth` limits how deep its parts are nested."""
        kind = self.rng.choices(("act", "state", "event", "owned", "passive"), (9, 2, 2, 2, 3))[0]
        inner = max(0, depth - 1)
        if kind == "act":
            who = self.rng.choice(["person", "company"])
            subject = self._subject(who, depth) + self._aside() + self._adverbials(depth)
            return subject + self._act(who, depth)
        if kind == "event":
            subject = self._noun("event", depth) + self._aside()
            if self._chance(0.5):
                place = drop("在", self._pick("place")) if self._chance(0.3) else []
                return subject + place + self._filled("event_on", keep(self._pick("day")))
            return subject + self._adverbials(depth) + keep(self._pick("did_event"))
        of = self.rng.choice(["building", "company", "thing"])
        subject = self._noun(of, depth)
        if kind == "passive" and of != "company":
            by = drop(self._noun("company", inner)) if self._chance(0.6) else []
            verb = keep("被") + by + self._manner() + keep(self._pick(f"done_{of}"), "了")
            return subject + self._aside() + self._adverbials(depth) + verb
        if kind == "owned":
            return subject + self._filled(f"owned_{of}", self._noun("company", inner))
        return subject + self._aside() + self._adverbials(depth) + keep(self._pick(f"state_{of}"))

    def _filled(self, name, tokens):
        """Returns an entry of the lexicon with tokens in place of its {}."""
        before, _, after = self._pick(name).partition("{}")
        return keep(before) + tokens + keep(after)

    def _aside(self):
        return drop("，", self._pick("aside"), "，") if self._chance(0.08) else []

    def _manner(self):
        if self._chance(0.15):
            return drop(self._pick("manner"))
        return keep(self._pick("degree")) if self._chance(0.06) else []

    def _subject(self, who, depth):
        """Returns the subject of an action: "person" or "company"."""
        kind = self.rng.random()
        if kind < 0.1:
            return self._noun(who, depth) + keep("和") + self._noun(who, depth)
        if kind < 0.2:
            return self._noun(who, 0) + drop("连同", self._noun("person", max(0, depth - 1)))
        if kind < 0.32 and depth:
            determiner = self.rng.choice(["所有", "凡是", "每个"])
            relative = self._act(who, depth - 1) + keep("的")
            return keep(determiner) + relative + keep(self._pick(who), "都")
        return self._noun(who, depth)

    def _act(self, who, depth):
        """Returns a predicate: verb and objects."""
        inner = max(0, depth - 1)
        kind = self.rng.random()
        of = self.rng.choice(["thing", "building"])
        if kind < 0.12:
            what = keep("把") + self._noun("thing", inner) + keep(self._pick("put"))
            return what + self._noun("building", inner) + keep("里")
        if kind < 0.22:
            return self._filled(f"lies_{who}", keep(self._pick("place")))
        if kind < 0.4:
            return keep(self._pick("want"), self._pick(f"do_{of}")) + self._noun(of, inner)
        if kind < 0.55:
            return self._manner() + keep(self._pick("did_person")) + self._noun("person", inner)
        if kind < 0.65:
            first = keep(self._pick(f"did_{of}")) + self._noun(of, inner)
            return first + keep("并", self._pick("did_person")) + self._noun("person", inner)
        return self._manner() + keep(self._pick(f"did_{of}")) + self._noun(of, inner)

    def _noun(self, kind, depth):
        """Returns a noun phrase whose determiner and noun are kept."""
        if kind == "person" and self._chance(0.2):
            return self._name(depth)
        noun = keep(self._pick(kind))
        if kind == "person" and self._chance(0.15):
            noun = keep(self._pick("privative")) + noun
        elif kind == "person" and self._chance(0.2):
            return self._noun("company", 0) + keep("的", self._pick("relation"))
        elif self._chance(0.35):
            noun = drop(self._pick(f"adjective_{kind}")) + noun
        determiner = keep(self.rng.choice(CLASSIFIERS[kind])) if self._chance(0.6) else []
        return determiner + self._modifier(kind, depth) + noun + self._bracket(kind, depth)

    def _name(self, depth):
        """Returns the name of a person, perhaps with an apposition."""
        name = keep(self._pick("name"))
        if depth and self._chance(0.4):
            relation = [self._pick("company"), "的", self._pick("relation")]
            what = self.rng.choice([[self._pick("person")], relation])
            return name + drop("（", *what, "）")
        if depth and self._chance(0.3):
            return name + drop(
                "，", "一位来自", self._pick("place"), "的", self._pick("person"), "，"
            )
        return name

    def _modifier(self, kind, depth):
        """Returns what may stand before a noun, all of it dropped."""
        if not depth or self._chance(0.45):
            return []
        form = self.rng.randrange(5)
        if form == 0 and kind in ("company", "building", "event"):
            return drop(self._pick("place"), "的")
        if form == 1 and kind in ("thing", "event"):
            return drop("关于", self._pick("topic"), "的")
        if form == 2 and kind in ("company", "building"):
            return drop(self._pick("place"), self._pick("superlative"), "的")
        if kind == "event":
            return []
        if kind in ("person", "company"):
            predicate = self._adverbials(depth - 1) + self._act(kind, depth - 1)
        elif kind == "thing":
            predicate = self._adverbials(depth - 1) + keep("被", self._pick("done_thing"))
        else:
            predicate = self._filled("lies_building", keep(self._pick("place")))
        return drop("刚刚" if self._chance(0.2) else [], predicate, "的")

    def _bracket(self, kind, depth):
        if depth and kind in ("company", "building") and self._chance(0.1):
            year = str(self.rng.randrange(1850, 2020))
            return drop("（", self.rng.choice(["建于", "始于"]), year, "年", "）")
        return []
