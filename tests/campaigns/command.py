"""What the campaigns have in common: options, work on all cores, one line that sums up, and the exit status.

A campaign is a function of (seed, first, count) that tries cases number ``first`` to ``first + count - 1`` and answers
figures; a case depends on nothing but seed and number, so that ``--first N --count 1`` does it again.  Figures of
slices are added up, those whose name begins with ``max`` are compared.  What is wrong is raised as :class:`Found`.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping

Figures = Mapping[str, float]
Campaign = Callable[[int, int, int], Figures]


class Found(AssertionError):
    """A case in which something is wrong; the text tells how to see it again."""


def main(name: str, campaign: Campaign, count: int, unit: str) -> None:
    """Run a campaign as the command line asks; exits with 1 where something was found."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.campaigns.{name}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, default=count, help=f"{unit} to try (default: {count:,})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (default: one a core)")
    options = parser.parse_args()
    begin = time.perf_counter()
    try:
        figures = spread(campaign, options.seed, options.first, options.count, options.jobs)
    except Found as found:
        print(found)
        print(f"{name}: FAILED (seed {options.seed})")
        sys.exit(1)
    seconds = time.perf_counter() - begin
    shown = ", ".join(f"{what} {value:,.10g}" for what, value in sorted(figures.items()))
    lead = f"{name}: ok: {options.count:,} {unit}, seed {options.seed}, {options.jobs} processes"
    print(f"{lead}, {seconds:.0f} s, {options.count / seconds:,.0f} a second; {shown}")


def spread(campaign: Campaign, seed: int, first: int, count: int, jobs: int) -> Figures:
    """Run slices of a campaign in processes of their own."""
    if jobs <= 1:
        return campaign(seed, first, count)
    slices = min(count, jobs * 8)
    bounds = [first + count * number // slices for number in range(slices + 1)]
    work = [(seed, begin, end - begin) for begin, end in itertools.pairwise(bounds)]
    figures: dict[str, float] = {}
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for part in pool.imap_unordered(_Slice(campaign), work):
            for what, value in part.items():
                before = figures.get(what, 0)
                figures[what] = max(before, value) if what.startswith("max") else before + value
    return figures


class _Slice:
    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign

    def __call__(self, work: tuple[int, int, int]) -> Figures:
        return self._campaign(*work)
