"""Exact moments of white Wishart matrices W = X^T X, with X [n d] standard normal."""

from fractions import Fraction
from functools import cache


def trace_moment(power: int, n: int, d: int) -> int:
    """E tr W^power, an integer.

    Gaussian integration by parts in X gives, for power sums p_k = tr W^k and any product of others,
    E[p_k P] = (n + k - 1) E[p_{k-1} P] + sum_{a=1}^{k-1} E[p_a p_{k-1-a} P] + sum_{m in P} 2m E[p_{k+m-1} P/p_m].
    """

    @cache
    def expected(powers: tuple[int, ...]) -> int:
        if not powers:
            return 1
        k, others = powers[0], powers[1:]
        if k == 0:
            return d * expected(others)
        total = (n + k - 1) * expected(_sorted((k - 1, *others)))
        total += sum(expected(_sorted((a, k - 1 - a, *others))) for a in range(1, k))
        for place, m in enumerate(others):
            rest = others[:place] + others[place + 1 :]
            total += 2 * m * expected(_sorted((k + m - 1, *rest)))
        return total

    return expected((power,))


def mean_moment(power: int, n: int, d: int) -> Fraction:
    """E tr (W/n)^power."""
    return Fraction(trace_moment(power, n, d), n**power)


def _sorted(powers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(powers, reverse=True))
