import random
import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worldtune.episodes.split import held_out_episodes

TASKS = st.dictionaries(st.text("0123456789ab", min_size=1, max_size=6), st.sampled_from(["push", "pull", "lift", ""]))
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9])


@given(TASKS, SHARES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_does_not_matter(task_of: dict[str, str], share: float, seed: int, rng: random.Random) -> None:
    shuffled = list(task_of.items())
    rng.shuffle(shuffled)
    assert held_out_episodes(dict(shuffled), share, seed) == held_out_episodes(task_of, share, seed)


@given(TASKS, SHARES, st.integers(0, 5))
def test_the_count_is_the_share_and_tasks_are_in_proportion(task_of: dict[str, str], share: float, seed: int) -> None:
    held = held_out_episodes(task_of, share, seed)
    assert held <= set(task_of)
    if share == 0 or not task_of:
        assert not held
        return
    assert abs(len(held) - max(1, share * len(task_of))) <= 0.5 + 1e-9
    sizes, counts = Counter(task_of.values()), Counter(task_of[episode] for episode in held)
    for task, size in sizes.items():
        assert abs(counts[task] - share * size) < 1 + 1e-9


def test_seeds_differ() -> None:
    task_of = {f"{e:06d}": "push" for e in range(100)}
    assert len({frozenset(held_out_episodes(task_of, 0.2, seed)) for seed in range(8)}) == 8


def test_pythons_hash_seed_does_not_matter() -> None:
    code = (
        "from worldtune.episodes.split import held_out_episodes as h;"
        "print(sorted(h({f'{e}': 'ab'[e % 2] for e in range(30)}, 0.2, 1)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] != ""
