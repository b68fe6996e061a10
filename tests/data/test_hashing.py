"""Divisions by the hash of a name."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from audioslots_jax.data.hashing import divide, fingerprint, unit_hash

EDGES = (0.05, 0.1, 1.0)
names = st.sets(st.text(max_size=8), max_size=60)


def test_hashes_are_spread_evenly_and_are_the_same_everywhere():
    hashes = sorted(unit_hash(f"speaker{i}") for i in range(5000))
    assert max(abs(value - i / 5000) for i, value in enumerate(hashes)) < 0.03
    assert unit_hash("speaker0") == 0.26468376173706787


@settings(max_examples=15, deadline=None)
@given(names, names)
def test_nobody_changes_sides_when_others_come_or_go(some, others):
    crowd = {f"speaker{i}" for i in range(200)}  # enough for every group
    before, by_hash = divide(crowd | some, EDGES, 2)
    after, still = divide(crowd | others, EDGES, 2)
    assert by_hash
    assert still
    for one, other in zip(before, after, strict=True):
        assert set(one) & crowd == set(other) & crowd
    assert sorted(itertools.chain(*before)) == sorted(crowd | some)


@settings(max_examples=30, deadline=None)
@given(names, st.integers(1, 3))
def test_small_groups_are_filled_in_the_order_of_the_hashes(speakers, least):
    groups, by_hash = divide(speakers, EDGES, least)
    assert sorted(itertools.chain(*groups)) == sorted(speakers)
    hashes = [[unit_hash(name) for name in group] for group in groups]
    ordered = [value for group in hashes for value in sorted(group)]
    assert ordered == sorted(ordered)
    if len(speakers) >= 3 * least:
        assert min(map(len, groups)) >= least
    limits = zip((0.0, *EDGES), EDGES, hashes, strict=False)
    assert by_hash == all(low <= h < high for low, high, group in limits for h in group)


def test_a_fingerprint_changes_with_the_parts_and_not_with_their_order():
    assert fingerprint([("a", 1), ("b", 2)]) == fingerprint([("b", 2), ("a", 1)])
    assert fingerprint([("a", 1)]) != fingerprint([("a", 2)])
