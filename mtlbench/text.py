"""Numbers, durations, sizes and lists as text: one formatter of each kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence


def write_probability(value: float) -> str:
    """A probability as text, never as a certainty.

    >>> write_probability(0.678), write_probability(1.0), write_probability(math.nan)
    ('P = 0.68', 'P > 0.99', '')
    """
    if math.isnan(value):
        return ""
    return "P > 0.99" if value > 0.99 else "P < 0.01" if value < 0.01 else f"P = {value:.2f}"


def write_percent(
    mean: float, low: float = math.nan, high: float = math.nan, signed: bool = True, unit: str = "%", digits: int = 1
) -> str:
    """A number with its interval, with as many decimals as a bound needs not to read 0.

    >>> write_percent(1.24, 0.31, 2.1)
    '+1.2 % [+0.3, +2.1]'
    >>> write_percent(1.24, -0.004, 2.1)
    '+1.240 % [-0.004, +2.100]'
    """
    given = [value for value in (mean, low, high) if not math.isnan(value)]
    while digits < 4 and any(0 < abs(bound) < 0.5 * 10**-digits for bound in given[1:]):
        digits += 1
    sign = "+" if signed else ""
    texts = [f"{round(value, digits) + 0.0:{sign}.{digits}f}" for value in given]  # + 0.0: no -0.0
    return f"{texts[0]} {unit}".rstrip() + (f" [{texts[1]}, {texts[2]}]" if len(texts) == 3 else "")


def list_in_words(parts: Sequence[str]) -> str:
    """
    >>> list_in_words(["a"]), list_in_words(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def write_factors(factors: Mapping[str, float]) -> str:
    """Factors on the weights of tasks' losses, as the column `weighting` of the frame has them; of none, "".

    >>> write_factors({"detection": 0.4, "attributes": 1.6})
    'detection 0.4, attributes 1.6'
    """
    return ", ".join(f"{task} {factor:g}" for task, factor in factors.items())


def factors_in(weighting: str) -> dict[str, float]:
    """What `write_factors` wrote.

    >>> factors_in("detection 0.4, attributes 1.6"), factors_in("")
    ({'detection': 0.4, 'attributes': 1.6}, {})
    """
    parts = [part.rpartition(" ") for part in weighting.split(", ") if part]
    return {task: float(factor) for task, _, factor in parts}


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write_duration(seconds: float) -> str:
    """`12 min` or `45 s`."""
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{max(1, round(seconds))} s"


# Control characters but line ends and tabs, lone surrogates, and marks that turn the direction of writing.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def strip_control(text: str) -> str:
    """Text of a file, without what would steer a terminal."""
    return STEERING.sub("?", text)


Say = Callable[[str], None]
NOTHING = "-"
MINUS = "\N{MINUS SIGN}"
DAGGER = "\N{DAGGER}"  # on a paired t interval beside others


def one_line(error: BaseException, most: int | None = None) -> str:
    """What an error says, in a line of at most so many characters.

    >>> one_line(ValueError("no file\\n  here")), one_line(ValueError("no file"), 4)
    ('no file here', 'no f')
    """
    return " ".join(str(error).split())[:most]


def bytes_text(size: float) -> str:
    """A size with SI letters, as disks are sold.

    >>> bytes_text(999), bytes_text(1_240_000_000)
    ('999 B', '1.2 GB')
    """
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{size / limit:.1f} {letter}B"
    return f"{size:.0f} B"


def shorten(value: float) -> str:
    """A large number with three digits and an SI letter.

    >>> shorten(1_234_567), shorten(999_600), shorten(math.nan)
    ('1.23 M', '1.00 M', '-')
    """
    if math.isnan(value):
        return NOTHING
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            scaled = value / limit
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {letter}"
    return f"{value:.0f}"
