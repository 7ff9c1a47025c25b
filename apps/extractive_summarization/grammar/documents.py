"""Documents whose informative sentences are known, in English and in Chinese.

A document is about one organization and mentions others. Kept are the sentences that report what the main
organization did or decided. The main one is the one that most sentences are about, not the first one; the
others are mostly introduced by words such as "meanwhile" or "the rival". So

    "Baltic Bank will close 12 branches."              is kept if the document is about Baltic Bank
    "Meanwhile, Baltic Bank will close 12 branches."   is dropped
    "It will close 12 branches."                       as the sentences before it say
    "Baltic Bank was founded in 1920."                 is dropped: background
    "Baltic Bank might close 12 branches."             is dropped: a conjecture
"""

from typing import NamedTuple

from .words import parse_lexicon

ENGLISH = parse_lexicon("""
    name: Baltic / Alpine / Nordic / Atlas / Orion / Harbour / Meridian / Summit / Lotus / Falcon /
        Cedar / Delta
    kind: Bank / Airlines / Brewery / Motors / Museum / University / Hospital / Railways / Theatre /
        Shipyard / Stores / Radio
    noun: bank / airline / brewery / carmaker / museum / university / hospital / railway / theatre /
        shipyard / chain / broadcaster
    object: branches / aircraft / cellars / models / galleries / laboratories / wards / trains /
        stages / ferries / shops / studios
    people: customers / pilots / brewers / mechanics / visitors / students / nurses / passengers /
        actors / welders / cashiers / listeners
    place: Oslo / Porto / Geneva / Lagos / Lima / Osaka / Tallinn / Bergen / Quito / Dublin / Tunis /
        Perth
    side: Meanwhile, / Elsewhere, / In other news, / By contrast, / The rival / The smaller /
        At the same time, / The neighbouring / It is different at the competition: / Not far away,
    day: Monday / Tuesday / Wednesday / Thursday / Friday / Saturday / Sunday
    result: {S} will close {n} {object} in {place}. / {S} has opened {n} {object} in {place}. /
        {S} is to sell its {object} in {place}. / {S} cut {n} jobs, most of them in {place}. /
        {S} reported a profit of {n}.{d} million euros. / {S} lost {n} million euros last year. /
        {S} has agreed to invest {n} million euros in its {object}. /
        {S} will replace all {object} by {future}. /
        {S} decided to raise the pay of its {people} by {d}.{d} percent. /
        {S} signed a contract for {n} {object} with a partner in {place}. /
        {S} has postponed the opening of its {object} in {place} until {future}. /
        {S} refused to pay its {people} a bonus. / {S} won a prize for its {object}.
    background: {S} was founded in {past} in {place}. / {S} is known for its {object}. /
        {S} has its head office in {place}. / {S} employs {n} {people}. /
        {S} opened its first {object} in {past}. / {S} sold its old {object} in {place} in {past}. /
        {S} was named after a street in {place}. / {S} had lost {n} {object} in the war. /
        {S} had {n} {people} a century ago.
    conjecture: {S} might close {n} {object} in {place}. / {S} could cut {n} jobs, {people} fear. /
        {S} will hardly sell its {object}, experts believe. /
        {S} denies that it has agreed to sell its {object}. /
        {S} has not yet decided about its {object} in {place}. /
        {S} would need {n} million euros for its {object}.
    scene: The sun shone in {place} on {day}. / Traffic in {place} was slow on {day}. /
        Tickets for the fair in {place} are sold out. / The streets of {place} were empty. /
        Schools in {place} open again on {day}. / The price of coffee rose by {d} percent.
""")
CHINESE = parse_lexicon("""
    name: 波罗的海 / 阿尔卑斯 / 北方 / 阿特拉斯 / 猎户 / 海港 / 子午线 / 顶峰 / 莲花 /
        猎鹰 / 雪松 / 三角洲
    kind: 银行 / 航空 / 酒业 / 汽车 / 博物馆 / 大学 / 医院 / 铁路 / 剧院 / 造船 /
        商店 / 电台
    noun: 这家银行 / 这家航空公司 / 这家酒厂 / 这家汽车厂 / 这家博物馆 / 这所大学 / 这家医院 /
        这家铁路公司 / 这家剧院 / 这家造船厂 / 这家连锁店 / 这家广播公司
    object: 分行 / 客机 / 酒窖 / 车型 / 展厅 / 实验室 / 病房 / 列车 / 舞台 / 渡轮 /
        门店 / 演播室
    people: 客户 / 飞行员 / 酿酒师 / 机械师 / 参观者 / 学生 / 护士 / 乘客 / 演员 /
        焊工 / 收银员 / 听众
    place: 奥斯陆 / 波尔图 / 日内瓦 / 拉各斯 / 利马 / 大阪 / 塔林 / 卑尔根 / 基多 /
        都柏林 / 突尼斯 / 珀斯
    side: 与此同时， / 另外， / 相比之下， / 另据报道， / 竞争对手 / 规模较小的 / 不远处的 /
        同行的情况不同： / 在其他新闻中， / 邻近的
    day: 周一 / 周二 / 周三 / 周四 / 周五 / 周六 / 周日
    result: {S}将关闭{place}的{n}个{object}。 /
        {S}在{place}新开了{n}个{object}。 / {S}将出售{place}的{object}。 /
        {S}裁减了{n}个岗位，大多在{place}。 / {S}报告利润{n}.{d}亿欧元。 /
        {S}去年亏损{n}亿欧元。 / {S}已同意向{object}投资{n}亿欧元。 /
        {S}将在{future}年前更换所有{object}。 /
        {S}决定给{people}加薪百分之{d}.{d}。 /
        {S}与{place}的伙伴签署了{n}个{object}的合同。 /
        {S}把{place}的{object}推迟到{future}年开放。 /
        {S}拒绝向{people}发放奖金。 / {S}的{object}获了奖。
    background: {S}于{past}年在{place}成立。 / {S}以{object}闻名。 /
        {S}的总部在{place}。 / {S}有{n}名{people}。 /
        {S}在{past}年开放了第一个{object}。 /
        {S}在{past}年出售了{place}的旧{object}。 /
        {S}的名字来自{place}的一条街。 / {S}曾在战争中失去{n}个{object}。 /
        {S}一百年前有{n}名{people}。
    conjecture: {S}可能关闭{place}的{n}个{object}。 /
        {S}也许会裁减{n}个岗位，{people}担心。 / 专家认为，{S}几乎不会出售{object}。 /
        {S}否认已同意出售{object}。 / {S}尚未决定{place}的{object}的去留。 /
        {S}若要更换{object}，需要{n}亿欧元。
    scene: {day}，{place}阳光明媚。 / {day}，{place}的交通缓慢。 /
        {place}博览会的门票已售完。 / {place}的街道空无一人。 /
        {place}的学校{day}重新开学。 / 咖啡的价格上涨了百分之{d}。
""")
LEXICONS = {"en": ENGLISH, "zh": CHINESE}
MARKED = 0.9  # share of the runs about another organization that start with words for it
PRONOUNS = {"en": "It", "zh": "它"}


class Organization(NamedTuple):
    """An organization: its name, and the number of its kind in the lexicon."""

    name: str
    kind: int


class Grammar:
    """Writes random documents.

    Args:
        rng: `random.Random`.
        language: "en" or "zh".
    """

    def __init__(self, rng, language):
        self.rng, self.words, self.used = rng, LEXICONS[language], set()
        self.pronoun, self.is_english = PRONOUNS[language], language == "en"

    def document(self):
        """Returns a document of 6 to 14 sentences, a list of (sentence, label)."""
        self.used = set()
        main, *others = self._organizations(self.rng.randint(2, 4))
        results = self.rng.randint(2, 4)
        forms = self._choices(["background", "conjecture"], self.rng.randint(1, 4))
        forms += ["result"] * results
        runs = self._runs(main, forms, largest=4)
        for other in others:
            # Fewer than about the main one, or it would be the main one.
            count = self.rng.randint(2, min(4, len(forms) - 1))
            other_forms = self._choices(["result", "result", "background", "conjecture"], count)
            runs += self._runs(other, other_forms, largest=4)
        runs += [[(None, "scene")] for _ in range(self.rng.randint(0, 2))]
        self.rng.shuffle(runs)
        kinds = [organization.kind for organization in (main, *others)]
        sentences = []
        for run in runs:
            for i, (organization, form) in enumerate(run):
                is_main, subject = organization == main, None
                if organization:
                    is_only = kinds.count(organization.kind) == 1
                    subject = self._subject(organization, i, is_main, is_only)
                label = int(is_main and form == "result")
                sentences.append((self._filled(form, subject, organization), label))
        return sentences if 6 <= len(sentences) <= 14 else self.document()

    def _choices(self, forms, count):
        return self.rng.choices(forms, k=count)

    def _organizations(self, count):
        """Returns distinct organizations, mostly of different kinds."""
        kinds = self.rng.sample(range(len(self.words["kind"])), count)
        if self.rng.random() < 0.2:
            kinds[-1] = kinds[0]
        names = self.rng.sample(self.words["name"], count)
        space = " " if self.is_english else ""
        return [
            Organization(f"{n}{space}{self.words['kind'][k]}", k)
            for n, k in zip(names, kinds, strict=True)
        ]

    def _runs(self, organization, forms, largest):
        """Divides sentences about one organization into runs of at most `largest`, in which it is "it"."""
        forms = self.rng.sample(forms, len(forms))
        runs = []
        while forms:
            size = self.rng.randint(1, largest)
            runs.append([(organization, form) for form in forms[:size]])
            forms = forms[size:]
        return runs

    def _subject(self, organization, place, is_main, is_only):
        """Returns how a sentence names its organization: by its name at the start of a run."""
        space = " " if self.is_english else ""
        if not place:
            is_marked = not is_main and self.rng.random() < MARKED
            side = f"{self.rng.choice(self.words['side'])}{space}" if is_marked else ""
            return f"{side}{organization.name}"
        if is_main and self.rng.random() < 0.2:
            return organization.name
        if is_only and self.rng.random() < 0.3:
            noun = self.words["noun"][organization.kind]
            return f"The {noun}" if self.is_english else noun
        return self.pronoun

    def _filled(self, form, subject, organization):
        kind = organization.kind if organization else 0
        values = {name: self.words[name][kind] for name in ("object", "people")}
        values |= {name: self.rng.choice(self.words[name]) for name in ("place", "day")}
        values |= {"n": self.rng.randint(11, 99), "d": self.rng.randint(2, 9)}
        values |= {"past": self.rng.randint(1850, 1979), "future": self.rng.randint(2027, 2039)}
        # The same sentence about the same organization only once in a document.
        free = [t for t in self.words[form] if (organization, t) not in self.used]
        template = self.rng.choice(free)
        self.used.add((organization, template))
        return template.format(S=subject, **values)
