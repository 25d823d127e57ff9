"""Tables of English short forms, units, money and signs, and how each is said."""

CURRENCIES: dict[str, tuple[str, str]] = {
    "$": ("dollar", "cent"),
    "£": ("pound", "penny"),
    "€": ("euro", "cent"),
    "¥": ("yen", ""),
}
UNITS: dict[str, str] = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "mi": "mile", "ft": "foot", "yd": "yard", "l": "liter", "ml": "milliliter",
    "s": "second", "sec": "second", "ms": "millisecond", "min": "minute", "mins": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour", "hz": "hertz", "khz": "kilohertz",
    "mhz": "megahertz", "ghz": "gigahertz", "kb": "kilobyte", "mb": "megabyte", "gb": "gigabyte",
    "tb": "terabyte", "w": "watt", "kw": "kilowatt", "mw": "megawatt", "v": "volt", "db": "decibel",
    "mph": "mile per hour", "km/h": "kilometer per hour", "kph": "kilometer per hour",
    "m/s": "meter per second", "fps": "frame per second", "°c": "degree celsius",
    "°f": "degree fahrenheit", "°": "degree", "%": "percent",
}  # fmt: skip
APART_UNITS = frozenset(UNITS) - {"m", "g", "s", "h", "l", "w", "v", "min", "mi", "mins", "sec"}
"""Units that are one also apart from their number: "5 km". The others may be words or letters."""
UNCHANGED = frozenset({"hertz", "kilohertz", "megahertz", "gigahertz", "percent", "foot"})
ABBREVIATIONS: dict[str, str] = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor",
    "jr": "junior", "sr": "senior", "gen": "general", "col": "colonel", "sgt": "sergeant",
    "capt": "captain", "lt": "lieutenant", "gov": "governor", "sen": "senator",
    "rep": "representative", "rev": "reverend", "hon": "honorable", "vs": "versus",
    "etc": "et cetera", "approx": "approximately", "dept": "department", "inc": "incorporated",
    "ltd": "limited", "corp": "corporation", "ave": "avenue", "blvd": "boulevard",
    "mt": "mount", "jan": "january", "feb": "february", "apr": "april", "aug": "august",
    "sept": "september", "sep": "september", "oct": "october", "nov": "november",
    "dec": "december", "tues": "tuesday", "thurs": "thursday",
}  # fmt: skip
"""Short forms that a full stop marks; other dotted letters are said one by one."""
_MONTHS = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTHS.split())
SCALE_WORDS = frozenset({"hundred", "thousand", "million", "billion", "trillion"})
SIGNS: dict[str, str] = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "×": "by", "÷": "over",
    "°": "degrees",
}  # fmt: skip
_LETTERS = (
    "ay bee see dee ee eff gee aitch eye jay kay el em en oh pee cue are ess tee you vee "
    "double-you ex why zee"
)
LETTERS = tuple(_LETTERS.split())
"""The names of the letters, in order; a hyphen parts two words."""
COMMON_BOTTOMS = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 32, 100})
"""Denominators that are one: "9/11" and "24/7" are two numbers."""
FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
