import pytest

from cellbench.durations import exact_duration, rough_duration


@pytest.mark.parametrize(
    ("seconds", "rough", "exact"),
    [
        (0.2, "0 s", "0 s"),
        (5.2, "5 s", "5 s"),
        (59.9, "60 s", "59 s"),
        (119, "119 s", "1 min 59 s"),
        (303, "5 min", "5 min 03 s"),
        (3600, "60 min", "1 h 00 min"),
        (7300, "2.0 h", "2 h 01 min"),
        (1e6, "277.8 h", "277 h 46 min"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds, rough, exact):
    assert rough_duration(seconds) == rough
    assert exact_duration(seconds) == exact
