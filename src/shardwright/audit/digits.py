"""Held to the digits given: whether a stated figure is the truth, rounded as it is stated."""

from decimal import Decimal

PER_CENT_DIGITS = 2
"""A share is stated in whole per cent at least: 0.3 stands for 30 %."""


def decimals(stated: float) -> int:
    """Digits after the point of a figure as written; none for a whole number.

    >>> decimals(1.43), decimals(28000.0)
    (2, 0)
    """
    if stated == int(stated):
        return 0
    return max(0, -int(Decimal(repr(stated)).normalize().as_tuple().exponent))


def agrees(stated: float, truth: float, *, share: bool = False) -> bool:
    """Whether `truth`, rounded to the digits of `stated`, is `stated`. Halves round either way.

    >>> agrees(1.43, 50 / 35), agrees(0.49, 1 - 33 / 64, share=True), agrees(60, 59.86)
    (True, False, True)
    """
    digits = max(PER_CENT_DIGITS, decimals(stated)) if share else decimals(stated)
    step = Decimal(1).scaleb(-digits)
    return abs(Decimal(repr(stated)) - Decimal(repr(truth))) <= step / 2


def range_of(stated: float) -> tuple[float, float]:
    """The figures that round to `stated`; of a whole number, zeros after its first two digits are rounded.

    >>> range_of(35.0), range_of(28000.0), range_of(30.0)
    ((34.5, 35.5), (27500.0, 28500.0), (29.5, 30.5))
    """
    number = Decimal(repr(stated)).normalize()
    exponent = int(number.as_tuple().exponent)
    if exponent > 0:
        exponent = min(exponent, max(0, number.adjusted() - 1))
    half = 10.0**exponent / 2
    return stated - half, stated + half


def shown(value: float) -> str:
    """A plain figure as a document writes it, to three digits: 28,000, 1.43, 35, 0.005.

    >>> shown(28000.0), shown(1.4285714), shown(3657.14), shown(0.03)
    ('28,000', '1.43', '3,657', '0.03')
    """
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:.3g}').normalize():f}"
