"""Pairs of English and Chinese texts that need no download: localized texts from CLDR.

Dates, times, durations, amounts of money, measures, lists and names of countries and languages, formatted
by `Babel` in both languages. They differ between versions of CLDR: a result records their SHA-256.
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
    """.split()  # noqa: SIM905 (a list would be one line each)
CURRENCIES = """
    USD EUR CNY JPY GBP KRW INR RUB CHF SEK AUD CAD BRL MXN ZAR TRY THB VND SGD HKD
    """.split()  # noqa: SIM905


@functools.cache
def _all():
    """Returns {split: pairs}; no text of valid or test is in train."""
    try:
        import babel
    except ImportError:
        raise InputError(
            "--source embedded needs the package Babel: pip install Babel, or use --source files"
        ) from None
    en, zh = babel.Locale("en"), babel.Locale("zh", script="Hans")
    names = [
        (getattr(en, kind)[code], getattr(zh, kind)[code])
        for kind in ("territories", "languages")
        for code in sorted(set(getattr(en, kind)) & set(getattr(zh, kind)))
        if len(code) == 2  # the common ones
    ]
    rng = random.Random(1)
    pairs_by_source = {}
    while len(pairs_by_source) < PAIRS:
        kind = rng.choice([_date, _date, _time, _duration, _money, _measure, _list])
        source, target = kind(rng, en, zh, names)
        pairs_by_source.setdefault(_plain(source), _plain(target))
    pairs = list(pairs_by_source.items())
    splits = {"valid": pairs[:500], "test": pairs[500:1500]}
    held = {text for part in splits.values() for pair in part for text in pair}
    # Names alone are only in train; valid and test have new lists of them. If a country and a language
    # have the same name, the first translation is used.
    train = {}
    for source, target in [*names, *pairs[1500:]]:
        train.setdefault(_plain(source), _plain(target))
    return {**splits, "train": [p for p in train.items() if not held & set(p)]}


def pairs(split):
    """Returns the pairs of "train", "valid" or "test", a list of (English, Chinese)."""
    return _all()[split]


def _plain(text):
    """Replaces the no-break spaces of CLDR by spaces."""
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
    if unit in target:  # Babel has no long form of this unit
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
