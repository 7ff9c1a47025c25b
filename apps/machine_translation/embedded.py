"""Pairs of English and Chinese that every machine has: what an app would localise, from CLDR.

Dates, times, durations, amounts of money, measures, lists and names of countries and languages, as
`Babel` formats them in both languages. Another version of CLDR may say some of them otherwise: a
result records the SHA-256.
"""

import datetime
import functools
import random

from shared.errors import InputError

PAIRS = 12_000
UNITS = """
    length-kilometer length-meter length-centimeter length-mile length-foot mass-kilogram mass-gram
    mass-pound mass-ton volume-liter volume-milliliter area-square-meter area-hectare area-acre
    speed-kilometer-per-hour temperature-celsius energy-kilowatt-hour power-watt digital-gigabyte
    digital-megabyte
    """.split()  # noqa: SIM905 (as a list it would be a line each)
CURRENCIES = """
    USD EUR CNY JPY GBP KRW INR RUB CHF SEK AUD CAD BRL MXN ZAR TRY THB VND SGD HKD
    """.split()  # noqa: SIM905


@functools.cache
def _all():
    """{split: pairs}: no sentence of one split stands in another, as a sentence or a translation."""
    try:
        import babel
    except ImportError:
        raise InputError(
            "the embedded pairs need the package Babel: pip install Babel, or take --source files"
        ) from None
    en, zh = babel.Locale("en"), babel.Locale("zh", script="Hans")
    names = [
        (getattr(en, kind)[code], getattr(zh, kind)[code])
        for kind in ("territories", "languages")
        for code in sorted(set(getattr(en, kind)) & set(getattr(zh, kind)))
        if len(code) == 2  # the better known
    ]
    rng = random.Random(1)
    made = {}
    while len(made) < PAIRS:
        kind = rng.choice([_date, _date, _time, _duration, _money, _measure, _list])
        source, target = kind(rng, en, zh, names)
        made.setdefault(_plain(source), _plain(target))
    pairs = list(made.items())
    splits = {"valid": pairs[:500], "test": pairs[500:1500]}
    held = {text for part in splits.values() for pair in part for text in pair}
    # Names are learned from train alone; what is made of them is new in valid and test. One name may be
    # that of a country and that of a language: the first stands.
    train = {}
    for source, target in [*names, *pairs[1500:]]:
        train.setdefault(_plain(source), _plain(target))
    return {**splits, "train": [p for p in train.items() if not held & set(p)]}


def pairs(split):
    """The pairs of "train", "valid" or "test"."""
    return _all()[split]


def _plain(text):
    """CLDR's spaces that do not break, as plain ones."""
    return " ".join(text.split())


def _both(function, en, zh, *args, **options):
    return tuple(function(*args, locale=locale, **options) for locale in (en, zh))


def _moment(rng):
    first = datetime.datetime(1950, 1, 1)
    return first + datetime.timedelta(seconds=rng.randrange(100 * 365 * 24 * 3600))


def _date(rng, en, zh, names):
    from babel.dates import format_date

    form = rng.choice(["full", "long", "long", "medium"])
    return _both(format_date, en, zh, _moment(rng).date(), form)


def _time(rng, en, zh, names):
    from babel.dates import format_skeleton, format_time

    if rng.random() < 0.5:
        return _both(format_time, en, zh, _moment(rng).time(), rng.choice(["short", "medium"]))
    form = rng.choice(["MMMd", "yMMM", "yMMMd", "MMMEd", "Hm", "EHm"])
    options = {"locale": None}
    moment = _moment(rng)
    return tuple(format_skeleton(form, moment, **{**options, "locale": loc}) for loc in (en, zh))


def _duration(rng, en, zh, names):
    from babel.dates import format_timedelta

    unit = rng.choice(["second", "minute", "hour", "day", "week", "month", "year"])
    seconds = {
        "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800,
        "month": 2592000, "year": 31536000,
    }  # fmt: skip
    delta = datetime.timedelta(seconds=rng.choice([1, -1]) * rng.randrange(1, 60) * seconds[unit])
    options = {"granularity": "second", "threshold": 99, "add_direction": rng.random() < 0.7}
    return _both(format_timedelta, en, zh, delta, **options)


def _money(rng, en, zh, names):
    from babel.numbers import format_currency

    amount = round(10 ** rng.uniform(0, 6), 2)
    amount = amount if rng.random() < 0.5 else int(amount)
    form = rng.choice(["standard", "name", "name"])
    return _both(format_currency, en, zh, amount, rng.choice(CURRENCIES), format_type=form)


def _measure(rng, en, zh, names):
    from babel.units import format_unit

    amount = round(10 ** rng.uniform(0, 4), rng.choice([0, 0, 1]))
    amount = int(amount) if amount == int(amount) else amount
    unit = rng.choice(UNITS)
    source, target = _both(format_unit, en, zh, amount, unit, length="long")
    if unit in target:  # Babel has no long form of it
        target = format_unit(amount, unit, length="short", locale=zh)
    return source, target


def _list(rng, en, zh, names):
    from babel.lists import format_list

    some = rng.sample(names, rng.choice([2, 2, 3, 3, 4]))
    style = rng.choice(["standard", "or"])
    sides = zip(*some, strict=True)
    return tuple(
        format_list(list(side), style, loc) for side, loc in zip(sides, (en, zh), strict=True)
    )
