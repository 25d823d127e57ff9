"""What is spoken for each word as it is written: "$5.50" is "five dollars and fifty cents".

English only: numbers, ordinals, years, dates, times, money, units, abbreviations and signs. A word
of another language is left to espeak-ng, which reads numbers in each of its languages.
"""

import re
from collections.abc import Callable, Sequence

from tasks.number_words import cardinal, decimal, digits, ordinal, plural, year
from tasks.spoken_forms import (
    ABBREVIATIONS,
    APART_UNITS,
    COMMON_BOTTOMS,
    CURRENCIES,
    FRACTIONS,
    LETTERS,
    MONTHS,
    SCALE_WORDS,
    SIGNS,
    UNCHANGED,
    UNITS,
)

Spoken = list[str]
"""The words that are spoken for one written word; empty for one that is silent."""

NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_EDGES = ' \t\n"“”„«»()[]{}<>!?,;:…*_~`|—–'
_MONEY_SIGNS = "".join(CURRENCIES)
_Rule = Callable[[re.Match[str], str, str], Spoken | None]


def spell_out(words: Sequence[str], language: str = "en") -> list[Spoken]:
    """What is spoken for each written word, in order; one entry for each of `words`.

    A word of another language than English is spoken as it is written. Neighbours decide where
    one word does not: "July 4" is a day, "5 p.m." has no o'clock, "$3 million" ends in dollars.
    """
    if language != "en":
        return [[word] if any(char.isalnum() for char in word) else [] for word in words]
    cores = [core_of(word) for word in words]
    around = ["", *cores, ""]
    said = [
        _spell(core, before, after)
        for core, before, after in zip(cores, around[:-2], around[2:], strict=True)
    ]
    for place, core in enumerate(cores[1:], start=1):
        # The currency of "$3 million" is said behind the scale.
        if core.lower() in SCALE_WORDS and (found := _MONEY.fullmatch(cores[place - 1])):
            said[place].append(CURRENCIES[found["sign"]][0] + "s")
    return said


def core_of(word: str) -> str:
    """A word without the quotes, brackets and punctuation around it; full stops are kept."""
    core = word.strip(_EDGES).replace("’", "'").replace("‘", "'")
    # An apostrophe in front may be a part, as in "'tis" and "'80s"; around a word it is a quote.
    quoted = core.startswith("'") and core.endswith("'") and len(core) > 3
    return core.strip("'") if quoted or not core.startswith("'") else core


def _spell(core: str, before: str, after: str) -> Spoken:
    for candidate in dict.fromkeys((core, core.rstrip("."))):
        for pattern, rule in _RULES:
            if found := pattern.fullmatch(candidate):
                said = rule(found, before, after)
                if said is not None:
                    return said
    return _pieces(core)


def _pieces(core: str) -> Spoken:
    """What no rule knows as a whole: its letters, numbers and signs, piece by piece."""
    parts = [part for part in re.split(r"[-–—/]", core) if part]
    if len(parts) > 1:
        is_range = "/" not in core and all(re.match(rf"[\d{_MONEY_SIGNS}]", p) for p in parts)
        joint = ["to"] if is_range else []
        said = [_spell(part, "", "") for part in parts]
        return [word for n, words in enumerate(said) for word in (joint if n else []) + words]
    spoken: Spoken = []
    for piece in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,]\d+)*|[^\w\s]", core):
        if piece[0].isdecimal():
            spoken += _number(piece)
        elif piece[0].isalpha():
            is_letters = len(piece) == 1 or (piece.isupper() and len(piece) <= 3)
            spoken += _lettered(piece) if is_letters and piece != core else [piece]
        elif piece == "." and re.search(r"\w\.\w", core):
            spoken.append("dot")
        elif piece in SIGNS:
            spoken.append(SIGNS[piece])
    return spoken


def _lettered(text: str) -> Spoken:
    """The names of a text's letters: "W" is "double you"."""
    places = [ord(char) - ord("a") for char in text.lower() if "a" <= char <= "z"]
    return [part for place in places for part in LETTERS[place].split("-")]


def _number(text: str) -> Spoken:
    """A number as it is written; one with several points is a version: "3.5.2"."""
    parts = text.split(".")
    if len(parts) <= 2:
        return decimal(text)
    said = [decimal(part) for part in parts]
    return [word for n, words in enumerate(said) for word in (["point"] if n else []) + words]


def _plain(found: re.Match[str], before: str, after: str) -> Spoken | None:
    """A bare number: a day after a month, a year where it has four digits, else a cardinal."""
    text = found[0]
    if not text.isdecimal():
        return decimal(text)
    number = int(text)
    if _month(before) and 1 <= number <= 31:
        return ordinal(number)
    if len(text) == 4 and 1100 <= number <= 2099:
        return year(number)
    return decimal(text)


def _month(word: str) -> bool:
    """Whether a word names a month; in lower case "may" and "march" do not."""
    name = word.rstrip(".").lower()
    return ABBREVIATIONS.get(name, name) in MONTHS and word not in ("may", "march")


def _money(found: re.Match[str], before: str, after: str) -> Spoken:
    one, small = CURRENCIES[found["sign"]]
    amount = found["amount"]
    if after.rstrip(".").lower() in SCALE_WORDS:
        return decimal(amount)
    if scale := found["scale"]:
        name = {"k": "thousand", "m": "million", "b": "billion"}[scale[0].lower()]
        return [*decimal(amount), name, one + "s"]
    whole, _, rest = amount.replace(",", "").partition(".")
    if len(rest) != 2 or not small:
        return [*decimal(amount), _counted(one, amount)]
    said = [*cardinal(int(whole or 0)), _counted(one, whole)] if int(whole or 0) else []
    if int(rest) == 0:
        return said or ["zero", one + "s"]
    pence = "pence" if small == "penny" and int(rest) != 1 else _counted(small, str(int(rest)))
    return [*said, *(["and"] if said else []), *cardinal(int(rest)), pence]


def _counted(unit: str, amount: str) -> str:
    """A unit in the singular for 1, else in the plural: "mile per hour" is "miles per hour"."""
    first, space, rest = unit.partition(" ")
    if amount == "1" or first in UNCHANGED or first == "yen":
        return "feet" if first == "foot" and amount != "1" else unit
    return first + "s" + space + rest


def _measure(found: re.Match[str], before: str, after: str) -> Spoken | None:
    unit = UNITS.get(found["unit"].lower())
    if unit is None:
        return None
    minus = ["minus"] if found["minus"] else []
    return [*minus, *decimal(found["amount"]), *_counted(unit, found["amount"]).split()]


def _unit(found: re.Match[str], before: str, after: str) -> Spoken | None:
    """A unit apart from its number: "5 km"."""
    if found[0].lower() not in APART_UNITS or not re.fullmatch(f"[-−]?(?:{NUMBER})", before):
        return None
    return _counted(UNITS[found[0].lower()], before).split()


def _clock(found: re.Match[str], before: str, after: str) -> Spoken | None:
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 24 or minute > 59:
        return None
    half = found["half"]
    said = cardinal(hour)
    if minute:
        said += ["oh", *cardinal(minute)] if minute < 10 else cardinal(minute)
    elif not half and after.replace(".", "").lower() not in ("am", "pm") and 1 <= hour <= 12:
        said.append("o'clock")
    elif hour > 12 or hour == 0:
        said += ["hundred"]
    return said + _lettered(half)


def _half_day(found: re.Match[str], before: str, after: str) -> Spoken:
    return [*cardinal(int(found["hour"])), *_lettered(found["half"])]


def _date(found: re.Match[str], before: str, after: str) -> Spoken | None:
    """A date in figures; of two months that it may be, the American order decides."""
    parts = found.groupdict()
    month, day, number = int(parts["month"]), int(parts["day"]), int(parts["year"])
    if month > 12:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    spoken_year = year(number) if number >= 100 else _short_year(number)
    return [MONTHS[month - 1], *ordinal(day), *spoken_year]


def _short_year(number: int) -> Spoken:
    return ["oh", *cardinal(number)] if 0 < number < 10 else cardinal(number)


def _fraction(found: re.Match[str], before: str, after: str) -> Spoken | None:
    top, bottom = int(found["top"]), int(found["bottom"])
    if bottom not in COMMON_BOTTOMS or top >= bottom:
        return None
    whole = [*cardinal(int(found["whole"])), "and"] if found["whole"] else []
    if top == 1 and bottom == 2:
        return [*whole, *(["a"] if whole else ["one"]), "half"]
    name = {2: ["half"], 4: ["quarter"]}.get(bottom, ordinal(bottom))
    if top != 1:
        name = ["halves"] if bottom == 2 else plural(name)
    return [*whole, *cardinal(top), *name]


def _range(found: re.Match[str], before: str, after: str) -> Spoken:
    low, high = found["low"], found["high"]
    if len(low) == 3 and len(high) == 4:
        return digits(low + high)
    both_years = len(low) == len(high) == 4
    ends = [year(int(t)) if both_years else decimal(t) for t in (low, high)]
    return [*ends[0], "to", *ends[1]]


def _area(found: re.Match[str], before: str, after: str) -> Spoken:
    return [*decimal(found["low"]), "by", *decimal(found["high"])]


def _abbreviation(found: re.Match[str], before: str, after: str) -> Spoken | None:
    name = found["name"].lower()
    if name == "st":
        # A saint stands before a name, a street behind one.
        return ["street"] if before and before.isalpha() and len(before) > 3 else ["saint"]
    if name == "no" and after[:1].isdecimal():
        return ["number"]
    long = ABBREVIATIONS.get(name)
    return long.split() if long else None


def _letters(found: re.Match[str], before: str, after: str) -> Spoken:
    """Letters with full stops between: "U.S." and "e.g."; a "U.S.'s" keeps its end."""
    said = _lettered(found["letters"])
    return [*said[:-1], said[-1] + "'s"] if found["end"] else said


def _rules() -> list[tuple[re.Pattern[str], _Rule]]:
    half = r"(?P<half>[ap]\.?m\.?)"
    return [
        (re.compile(pattern, re.IGNORECASE), rule)
        for pattern, rule in (
            (NUMBER, _plain),
            (rf"(?P<sign>[{_MONEY_SIGNS}])(?P<amount>{NUMBER})(?P<scale>[kmb]n?)?", _money),
            (rf"[-−](?P<amount>{NUMBER})", lambda f, b, a: ["minus", *decimal(f["amount"])]),
            (rf"#(?P<amount>{NUMBER})", lambda f, b, a: ["number", *decimal(f["amount"])]),
            (r"(?P<amount>\d[\d,]*)(?:st|nd|rd|th)", _ordinal),
            (r"'?(?P<decade>\d{2}|\d{4})'?s", _decade),
            (r"'(?P<year>\d{2})", lambda f, b, a: _short_year(int(f["year"]))),
            (rf"(?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}}){half}", _clock),
            (r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?P<half>)", _clock),
            (rf"(?P<hour>\d{{1,2}}){half}", _half_day),
            (r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})", _date),
            (r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{2}|\d{4})", _date),
            (r"(?:(?P<whole>\d+)[- ])?(?P<top>\d{1,2})/(?P<bottom>\d{1,3})", _fraction),
            (rf"(?P<low>{NUMBER})[-–—](?P<high>{NUMBER})", _range),
            (rf"(?P<low>{NUMBER})x(?P<high>{NUMBER})", _area),
            (r"'n'?|n'", lambda f, b, a: ["and"]),
            (rf"(?P<minus>[-−])?(?P<amount>{NUMBER})-?(?P<unit>[a-z°%/]+)", _measure),
            (r"[a-z°%/]+", _unit),
            (r"(?P<name>[a-z]+)\.", _abbreviation),
            (r"(?P<letters>(?:[a-z]\.)+[a-z]?)(?P<end>'s)?", _letters),
            (f"[{''.join(FRACTIONS)}]", lambda f, b, a: _spell(FRACTIONS[f[0]], b, a)),
        )
    ]  # fmt: skip


def _ordinal(found: re.Match[str], before: str, after: str) -> Spoken:
    return ordinal(int(found["amount"].replace(",", "")))


def _decade(found: re.Match[str], before: str, after: str) -> Spoken | None:
    number = int(found["decade"])
    if number % 10:
        return None
    return plural(year(number) if number >= 1000 else cardinal(number))


_MONEY = re.compile(rf"(?P<sign>[{_MONEY_SIGNS}])(?P<amount>{NUMBER})")
_RULES = _rules()
