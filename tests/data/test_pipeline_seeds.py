import subprocess
import sys
from itertools import pairwise

from cellbench.data.seeds import generator, step_seed


def first(*key):
    return generator(*key).integers(1 << 62)


def test_the_same_five_values_give_the_same_draws():
    assert first(3, 0, 7, "a", 2) == first(3, 0, 7, "a", 2)


def test_each_of_the_five_values_changes_the_draws():
    keys = [
        (3, 0, 7, "a", 2), (4, 0, 7, "a", 2), (3, 1, 7, "a", 2), (3, 0, 8, "a", 2),
        (3, 0, 7, "b", 2), (3, 0, 7, "a", 3), (3, 0, 7, None, 2), (3, "0", 7, "a", 2),
    ]  # fmt: skip
    assert len({first(*key) for key in keys}) == len(keys)


def test_values_never_run_into_each_other():
    keys = [(1, 12, 0, "a"), (11, 2, 0, "a"), (1, 1, 2, "a"), (1, 1, 0, "2a"), (1, 1, 0, "2", 0)]
    drawn = [first(*key) for key in keys]
    assert all(one != two for one, two in pairwise(sorted(drawn)))


def test_another_process_with_another_hash_seed_draws_the_same():
    code = (
        "from cellbench.data.seeds import generator, step_seed;"
        "print(generator(1, 2, 3, 'cell-ü', 4).integers(1 << 62))"
    )
    drawn = [
        int(
            subprocess.run(
                [sys.executable, "-c", code],
                env={"PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    assert drawn == [first(1, 2, 3, "cell-ü", 4)] * 2


def test_each_step_and_process_has_a_seed_that_torch_takes():
    seeds = {step_seed(*key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 1)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(4, 1, 200, 3) == step_seed(4, 1, 200, 3)
