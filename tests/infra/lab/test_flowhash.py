from collections import Counter

import pytest

from infra.lab.flowhash import flow_class, jhash


@pytest.mark.parametrize(("key", "seed", "expected"), [(b"", 0, 0xDEADBEEF), (b"", 0xDEADBEEF, 0xBD5B7DDE)])
def test_empty_keys_hash_as_published(key, seed, expected):
    # Values from the comments of lookup3.c.
    assert jhash(key, seed) == expected


@pytest.mark.parametrize(("seed", "expected"), [(0, 0x17770551), (1, 0xCD628161)])
def test_the_published_sentence_hashes_as_published(seed, expected):
    assert jhash(b"Four score and seven years ago", seed) == expected


def test_flows_spread_over_all_classes():
    classes = Counter(
        flow_class("10.42.0.1", "10.42.0.4", source_port=port, target_port=9000) for port in range(9100, 9500)
    )
    assert set(classes) == {0, 1, 2, 3}
    assert min(classes.values()) > 60
