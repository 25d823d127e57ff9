"""Numbers, lengths and codes in words, as the report prints them."""


def length(duration_s: float | None) -> str:
    """A duration for people: seconds, minutes from one minute on, hours from one hour on."""
    if duration_s is None:
        return "–"
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    return f"{duration_s / 60:.1f} min" if duration_s < 3600 else f"{duration_s / 3600:.2f} h"


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """A number with thousands apart and its unit; a true minus sign; a dash where it is NULL."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")
    return f"{text}\u00a0{unit}" if unit else text


def quantity(value: float, unit: str) -> str:
    """A measure with its unit and only as many digits as change it by half a percent."""
    if unit == "share":
        value, unit = 100 * value, "%"
    close = (d for d in range(4) if abs(round(value, d) - value) <= 0.005 * abs(value))
    return number(value, next(close, 4), "" if unit == "DNSMOS" else unit)


def difference(value: float, unit: str = "dB") -> str:
    """A difference of levels; one that three digits do not show is said to be below them."""
    return number(value, 3, unit) if value >= 0.0005 else f"below\u00a00.001\u00a0{unit}"


def share(value: float | None, digits: int = 0) -> str:
    """A fraction in percent."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def words(code: str | None) -> str:
    """A snake_case code as words."""
    return (code or "").replace("_", " ")


def lateness(offset_s: float | None) -> str:
    """An offset of sound and picture for people."""
    if offset_s is None:
        return "not measurable"
    ms = round(1000 * offset_s)
    if not ms:
        return "sound on time"
    return f"sound {number(abs(ms), 0, 'ms')} {'late' if ms > 0 else 'early'}"
