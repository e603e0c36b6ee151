"""In which order features run: by name, except where one says that it comes before or after another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush


class Cycle(ValueError):
    """There is no such order: each of ``path`` comes before the next one, and the last is the first."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(" before ".join(path))
        self.path = path


def running_order(earlier: Mapping[str, Collection[str]]) -> list[str]:
    """The names, each behind those that come ``earlier``; by name where that leaves a choice.

    Names that are no key of ``earlier`` are ignored.

    :raises Cycle: where some wait for each other.
    """
    waiting = {name: {other for other in others if other in earlier} for name, others in earlier.items()}
    ready = [name for name, others in waiting.items() if not others]
    heapify(ready)
    order = []
    while ready:
        name = heappop(ready)
        order.append(name)
        del waiting[name]
        for other, missing in waiting.items():
            if name in missing:
                missing.remove(name)
                if not missing:
                    heappush(ready, other)
    if waiting:
        raise Cycle(_cycle(waiting))
    return order


def _cycle(waiting: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """One of the circles: everything in ``waiting`` waits for something in it, so going back has to meet itself."""
    path = [min(waiting)]
    while (earlier := min(waiting[path[-1]])) not in path:
        path.append(earlier)
    return (earlier, *reversed(path[path.index(earlier) :]))
