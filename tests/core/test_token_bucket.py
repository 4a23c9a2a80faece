"""How often something may happen."""

from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.token_bucket import TokenBucket


@given(rate=st.floats(0.1, 100), burst=st.integers(1, 50), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(rate: float, burst: int, gaps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= burst + rate * now + 1e-6
    assert taken >= min(len(gaps), burst)
