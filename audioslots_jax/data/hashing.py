"""What depends on contents alone, the same in every process: fingerprints, divisions by hash."""

import bisect
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence


def fingerprint(parts: Iterable[object]) -> str:
    """Returns a short text that differs for different parts, in whatever order they come."""
    digest = hashlib.sha256()
    for part in sorted(map(repr, parts)):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def unit_hash(name: str) -> float:
    """Returns a number in [0, 1) that is as good as drawn, but depends on the name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:6]) / 2**48


def divide(
    names: Iterable[str], edges: Sequence[float], least: int
) -> tuple[list[list[str]], bool]:
    """Returns names in groups by their hash: below the first edge, below the second, and so on.

    So no name changes its group when others come or go. Only a group of fewer than ``least`` names
    takes those with the next smallest hashes, as far as there are enough for all groups. Also
    returns whether the hashes alone made the groups. The last edge is 1.
    """
    order = sorted(names, key=unit_hash)
    by_hash = [bisect.bisect_left(order, edge, key=unit_hash) for edge in edges]
    ends = [0]
    for number, end in enumerate(by_hash, start=1):
        spare = len(order) - least * (len(edges) - number)
        ends.append(max(min(max(end, ends[-1] + least), spare), ends[-1]))
    groups = [sorted(order[start:end]) for start, end in itertools.pairwise(ends)]
    return groups, ends[1:] == by_hash
