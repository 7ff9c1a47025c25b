"""English sentences from a grammar whose kept words are known.

    sentence     (opening ,) clause (, closing) .
    clause       noun phrase, predicate, adverbials
    noun phrase  determiner, adjectives, noun, prepositional phrase, relative clause or apposition

Kept is the core of the main clause: subject, verb, objects, and what changes its truth. What is kept depends
on more than the words beside it:

    dropped                                         kept
    adjectives: "the old bank"                      those that change the noun: "the former mayor"
    places: "a bank in Oslo"                        arguments: "lay in Oslo", "the head of the bank"
    times: "met on Monday"                          arguments: "took place on Monday"
    relative clauses: "the mayor who sued him"      after "every", "no", "only": "no mayor who sued him"
    "said that": what was said is kept              "denied that": all is kept
    "after", "because", "although" clauses          "if", "unless" clauses
    "by" after a passive: "was sold by the bank"    "was owned by the bank"

These are nested, so that a dropped part has parts that would be kept elsewhere.
"""

from .words import drop, keep, parse_lexicon, tidy

LEXICON = parse_lexicon("""
    first: Ines Marco Lena Tomas Aisha Victor Nadia Oscar Petra Samuel Yara Henrik Clara Dmitri Rosa Kofi
    last: Novak Lindgren Moreau Okafor Castillo Brandt Petrov Tanaka Hughes Silva Keller Marsh Doyle Fischer
    place: Oslo Porto Geneva Lagos Lima Osaka Tallinn Bergen Quito Dublin Krakow Tunis Havana Perth Izmir
    person: minister mayor judge governor director engineer surgeon coach editor senator inspector trainer
        teacher farmer architect sailor
    company: bank company hospital university museum airline brewery shipyard newspaper publisher charity
        council court agency ministry union
    thing: report contract plan proposal budget law painting letter map database model vaccine novel statue
    building: bridge factory hotel stadium tunnel library prison harbour theatre station warehouse clinic
    event: meeting trial festival hearing concert election race debate auction conference rehearsal
    privative: former deputy acting future alleged fake would-be
    adjective_person: old young cautious wealthy popular ambitious nervous experienced retired outspoken
    adjective_thing: secret new detailed controversial famous expensive blue rare forgotten handwritten
    adjective_company: large small rich local regional powerful struggling well-known respected young
    adjective_building: old large empty modern famous wooden abandoned new narrow elegant
    adjective_event: long annual noisy local public tense short crowded
    did_thing: approved rejected presented bought sold published lost found criticised copied examined signed
    did_building: opened closed bought sold repaired demolished painted inspected visited designed
    did_person: met hired dismissed praised sued thanked replaced questioned supported invited
    done_thing: approved rejected published lost stolen copied signed delivered
    done_building: opened closed repaired demolished inspected painted evacuated
    infinitive_thing: approve reject present buy sell publish copy sign examine
    infinitive_building: open close buy sell repair demolish inspect
    want: wanted to / planned to / refused to / promised to / failed to / did not / did n't / decided to /
        hoped to / agreed to / could not / tried to
    did_event: ended / began / was cancelled / was postponed / failed / continued
    event_on: took place on / was moved to / was scheduled for / was postponed until / started on
    state_building: unsafe / nearly full / too expensive / ready / incomplete / almost empty
    state_company: bankrupt / too small / popular / ready / in trouble / no longer independent
    state_thing: too expensive / out of date / incomplete / popular / not genuine / hard to find
    relation: head / chairman / owner / founder / director / member / rival
    owned_building: was owned by / was run by / belonged to
    owned_company: was owned by / was run by / was founded by / depended on / belonged to
    owned_thing: was written by / was influenced by / depended on / belonged to
    put: put placed hid stored kept left
    lies_person: moved to / arrived in / came from / stayed in
    lies_company: moved to / operated from / settled in / came from
    lies_building: was located in / lay in / stood in
    say: said / announced / reported / confirmed / added / explained
    deny: denied / doubted / did not claim / refused to believe / falsely claimed
    day: Monday Tuesday Wednesday Thursday Friday Saturday Sunday
    month: January March April June August October December
    time: last week / this morning / two years ago / yesterday / earlier this year / in the evening
    manner: quietly finally reluctantly carefully suddenly officially proudly
    degree: never barely almost
    aside: however / for example / by all accounts / as usual / in other words / of course / it seems
    topic: the accident / the storm / trade / the old town / two sisters / climate change / the war
    drop_when: after / before / while / when / because / although / since
    keep_when: if / unless
    superlative: largest oldest richest smallest best-known
""")


class Grammar:
    """Writes random sentences.

    Args:
        rng: `random.Random`.
    """

    def __init__(self, rng):
        self.rng = rng

    def sentence(self):
        """Returns a sentence, a list of (token, label); the last token is a kept full stop."""
        tokens = self._sentence()
        if not tokens[0][0][0].isupper():
            tokens[0] = (tokens[0][0].capitalize(), tokens[0][1])
        return tidy([*tokens, *keep(".")])

    def _pick(self, name):
        return self.rng.choice(LEXICON[name])

    def _chance(self, p):
        return self.rng.random() < p

    def _sentence(self):
        form = self.rng.random()
        if form < 0.12:  # what was said is the main clause
            return drop(self._speaker(), self._pick("say"), "that") + self._clause(3)
        if form < 0.22:
            return self._clause(3) + drop(",", self._speaker(), self._pick("say"))
        if form < 0.32:
            return self._noun("person", 2) + keep(self._pick("deny"), "that") + self._clause(1)
        if form < 0.44:
            clause = self._clause(2)
            return drop(self._pick("drop_when"), clause, ",") + self._clause(3)
        if form < 0.52:
            clause = self._clause(2)
            return keep(self._pick("keep_when")) + clause + keep(",") + self._clause(1)
        if form < 0.64:
            return drop(self._opening(), ",") + self._clause(3)
        if form < 0.74:
            return self._clause(3) + drop(self._pick("drop_when"), self._clause(2))
        if form < 0.8:
            return self._clause(1) + keep(self._pick("keep_when")) + self._clause(1)
        return self._clause(3)

    def _main(self, depth):
        return self._clause(depth)

    def _speaker(self):
        return self._noun(self.rng.choice(["person", "company"]), 1)

    def _opening(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            return drop("according to", self._noun("company", 1))
        return drop(self._time() if kind == 1 else self._pick("aside"))

    def _time(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            return f"on {self._pick('day')}"
        if kind == 1:
            return f"in {self._pick('month')} {self.rng.randrange(1950, 2026)}"
        return self._pick("time")

    def _adverbials(self, depth):
        """Returns what may follow a clause: times and places that are no arguments."""
        tokens = []
        if self._chance(0.4):
            tokens += drop(self._time())
        if depth and self._chance(0.2):
            tokens += drop("in", self._noun("building", depth - 1))
        elif self._chance(0.15):
            tokens += drop("in", self._pick("place"))
        return tokens

    def _clause(self, depth):
        """Returns a clause whose core is kept; `depth` limits how deep its parts are nested."""
        kind = self.rng.choices(("act", "state", "event", "owned", "passive"), (9, 2, 2, 2, 3))[0]
        if kind == "act":
            who = self.rng.choice(["person", "company"])
            subject = self._subject(who, depth) + self._aside()
            return subject + self._act(who, depth) + self._adverbials(depth)
        if kind == "event":
            subject = self._noun("event", depth)
            if self._chance(0.5):
                tokens = subject + self._aside() + keep(self._pick("event_on"), self._pick("day"))
                return tokens + (drop("in", self._pick("place")) if self._chance(0.3) else [])
            return subject + self._aside() + keep(self._pick("did_event")) + self._adverbials(depth)
        of = self.rng.choice(["building", "company", "thing"])
        subject = self._noun(of, depth)
        if kind == "passive" and of != "company":
            by = drop("by", self._noun("company", max(0, depth - 1))) if self._chance(0.5) else []
            verb = keep("was") + self._manner() + keep(self._pick(f"done_{of}"))
            return subject + self._aside() + verb + by + self._adverbials(depth)
        if kind == "owned":
            verb = keep(self._pick(f"owned_{of}"))
            return subject + verb + self._noun("company", max(0, depth - 1))
        state = keep("was", self._pick(f"state_{of}"))
        return subject + self._aside() + state + self._adverbials(depth)

    def _aside(self):
        return drop(",", self._pick("aside"), ",") if self._chance(0.08) else []

    def _manner(self):
        if self._chance(0.15):
            return drop(self._pick("manner"))
        return keep(self._pick("degree")) if self._chance(0.08) else []

    def _subject(self, who, depth):
        """Returns the subject of an action: "person" or "company"."""
        kind = self.rng.random()
        if kind < 0.1:
            return self._noun(who, depth) + keep("and") + self._noun(who, depth)
        if kind < 0.2:
            others = drop(",", "together with", self._noun("person", max(0, depth - 1)), ",")
            return self._noun(who, 0) + others
        if kind < 0.32 and depth:
            determiner = self.rng.choice(["every", "no", "the only", "any"])
            relative = keep("who" if who == "person" else "that") + self._act(who, depth - 1)
            return keep(determiner, self._pick(who)) + relative
        return self._noun(who, depth)

    def _act(self, who, depth):
        """Returns a predicate in the past: verb and objects."""
        inner = max(0, depth - 1)
        kind = self.rng.random()
        of = self.rng.choice(["thing", "building"])
        if kind < 0.12:
            verb = keep(self._pick("put")) + self._noun("thing", inner)
            return verb + keep("in") + self._noun("building", inner)
        if kind < 0.22:
            return keep(self._pick(f"lies_{who}"), self._pick("place"))
        if kind < 0.4:
            return keep(self._pick("want"), self._pick(f"infinitive_{of}")) + self._noun(of, inner)
        if kind < 0.55:
            return self._manner() + keep(self._pick("did_person")) + self._noun("person", inner)
        if kind < 0.65:
            first = keep(self._pick(f"did_{of}")) + self._noun(of, inner)
            return first + keep("and", self._pick("did_person")) + self._noun("person", inner)
        return self._manner() + keep(self._pick(f"did_{of}")) + self._noun(of, inner)

    def _noun(self, kind, depth):
        """Returns a noun phrase whose determiner and noun are kept."""
        noun, adjectives, kept_adjective = self._pick(kind), [], []
        if kind == "person" and self._chance(0.15):
            return self._name(depth)
        if kind == "person" and self._chance(0.15):
            kept_adjective = keep(self._pick("privative"))
        elif self._chance(0.4):
            adjectives = drop(self._pick(f"adjective_{kind}"))
        after = []
        if kind == "person" and self._chance(0.2):
            noun = self._pick("relation")
            after = keep("of") + self._noun("company", 0)
            adjectives = []
        first = (kept_adjective or keep(noun))[0][0]
        determiner = self._determiner(first, adjectives)
        if kind in ("thing", "building") and self._chance(0.1):
            determiner = f"the {self._pick('person')} 's"
        tokens = keep(determiner) + adjectives + kept_adjective + keep(noun) + after
        return tokens + self._after_noun(kind, depth)

    def _determiner(self, first, adjectives):
        """Returns "the", or "a" or "an" where it fits with the adjectives and without them."""
        article = lambda word: "an" if word[0] in "aeio" else "a"  # noqa: E731
        starts = {article(word) for word in (first, *(a for a, _ in adjectives[:1]))}
        if "uni" in (first[:3], *(a[:3] for a, _ in adjectives[:1])) or len(starts) > 1:
            return "the"
        return self.rng.choice(["the", "the", *starts])

    def _name(self, depth):
        """Returns the name of a person, perhaps with an apposition."""
        name = keep(self._pick("first"), self._pick("last"))
        if depth and self._chance(0.5):
            noun = self.rng.choice(
                [self._pick("person"), f"{self._pick('relation')} of the {self._pick('company')}"]
            )
            return name + drop(",", "the", noun, ",")
        return name

    def _after_noun(self, kind, depth):
        """Returns what may follow a noun, all of it dropped."""
        if not depth or self._chance(0.4):
            return []
        form = self.rng.randrange(9)
        inner = depth - 1
        if form >= 6 and kind in ("person", "company", "thing", "building"):
            return drop(self._relative_without_comma(kind, inner))
        if form == 0 and kind in ("company", "building", "event"):
            return drop("in", self._pick("place"))
        if form == 1 and kind in ("thing", "event"):
            return drop("about", self._pick("topic"))
        if form == 2 and kind in ("company", "building"):
            year = str(self.rng.randrange(1850, 2020))
            if self._chance(0.5):
                return drop("(", self.rng.choice(["founded in", "since", "built in"]), year, ")")
            return drop(",", "the", self._pick("superlative"), "in", self._pick("place"), ",")
        if form == 3 and kind == "person":
            return drop(",", "a", self._person_without_vowel(), "from", self._pick("place"), ",")
        if kind == "event":
            return []
        pronoun = "who" if kind == "person" else "which"
        if kind in ("person", "company"):
            predicate = self._act(kind, inner) + self._adverbials(inner)
        elif kind == "thing":
            predicate = keep("was", self._pick("done_thing")) + self._adverbials(inner)
        else:
            predicate = keep(self._pick("lies_building"), self._pick("place"))
        return drop(",", pronoun, predicate, ",")

    def _relative_without_comma(self, kind, depth):
        """Returns a clause that ends where the next verb of the sentence shows it."""
        if kind in ("thing", "building"):
            verb = self._pick(f"done_{kind}")
            return keep(verb, "by") + self._noun("company", depth)
        return keep("who" if kind == "person" else "that") + self._act(kind, depth)

    def _person_without_vowel(self):
        return self.rng.choice([p for p in LEXICON["person"] if p[0] not in "aeiou"])
