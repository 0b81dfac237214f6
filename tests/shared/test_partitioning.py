"""A key's partition is the one that Kafka's own clients choose."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from shared.log.partitioning import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    # Kafka's own UtilsTest.testMurmur2, as unsigned numbers.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_java_s_vectors(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF


@given(st.binary(max_size=80), st.integers(1, 100))
def test_aiokafka_agrees(key: bytes, partitions: int) -> None:
    assert murmur2(key) == reference(key)
    everyone = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, everyone, everyone)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 100))
def test_a_key_of_ours_takes_the_short_way_to_the_same_place(key: bytes, partitions: int) -> None:
    everyone = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, everyone, everyone)
