"""Random histories by hypothesis: which act comes next, by whom, on which database. A failing one is made shorter."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from securesystemslib.signer import CryptoSigner
from sqlalchemy import text

from worldtune.bench.registry_history import KINDS, TAMPERINGS, USUAL, History, insert_row, open_up
from worldtune.bench.registry_site import own_folders
from worldtune.registry.database import engine_of
from worldtune.registry.enrolment import enrol
from worldtune.registry.facts import Role
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.registry import Registry, found_registry

PEOPLE: dict[str, tuple[Role, ...]] = {
    "sam": ("submitter",), "eva": ("evaluator",), "bob": ("approver",), "olga": ("admin",),
    "bea": ("submitter", "evaluator", "approver"),
}  # fmt: skip
EVERYBODY = sorted({"ann", *PEOPLE})
Drawn = st.lists(st.integers(0, 9999), min_size=6, max_size=6)
STEPS = 14
PHASES = ("generate", "shrink")


def run_histories(place: Path, count: int, database: str | None = None) -> tuple[Counter[str], str]:
    """Run so many histories: how often each act was tried, and what misled a reader, if anything did.

    `database` is an empty one of PostgreSQL, else it is SQLite.
    """
    counts: Counter[str] = Counter()
    with own_folders(place):
        start = _begin(place, database)

    class Machine(RuleBasedStateMachine):
        """One history."""

        def __init__(self) -> None:
            super().__init__()
            self.history = start.fresh()
            counts["histories"] += 1

        @rule(
            choice=st.integers(0, 9), person=st.sampled_from(EVERYBODY), kind=st.sampled_from(KINDS),
            how=st.sampled_from(sorted(TAMPERINGS)), drawn=Drawn,
        )  # fmt: skip
        def act(self, choice: int, person: str, kind: str, how: str, drawn: list[int]) -> None:
            if choice < 2:
                self.history.make_ready(drawn)
            elif choice < 5:
                self.history.honest(person if choice == 4 else USUAL[kind], kind, drawn)
            elif choice < 7:
                self.history.appended(person, "moved" if drawn[5] % 2 else kind, drawn)
            else:
                self.history.tamper(how, drawn)
            self.history.check()

        def teardown(self) -> None:
            counts.update(self.history.counts)
            self.history.registry.engine.dispose()

    try:
        with own_folders(place):
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=count, stateful_step_count=STEPS, deadline=None, database=None, derandomize=True,
                    suppress_health_check=list(HealthCheck), phases=[Phase[name] for name in PHASES],
                ),
            )  # fmt: skip
    except AssertionError as error:
        return counts, f": {' '.join([str(error), *getattr(error, '__notes__', [])])}"
    return counts, ""


class _Beginning:
    """A registry with its people, from which each history begins anew."""

    def __init__(self, place: Path, registry: Registry, keys: dict[str, CryptoSigner]) -> None:
        self.place, self.registry, self.keys = place, registry, keys
        self.rows = History(registry, keys).truth

    def fresh(self) -> History:
        """The same registry as it began, and a client who has seen nothing."""
        for folder in ("cache", "state"):
            shutil.rmtree(self.place / folder, ignore_errors=True)
        registry = replace(self.registry, engine=engine_of(self.registry.engine.url.render_as_string(False)))
        with registry.engine.begin() as connection:
            open_up(connection)
            connection.execute(text("DELETE FROM event"))
            for row in self.rows:
                insert_row(connection, row)
        return History(registry, self.keys)


def _begin(place: Path, database: str | None) -> _Beginning:
    keys = {"ann": make_key(place / "keys" / "ann.pem")}
    registry = found_registry(place, "ann", keys["ann"], database)
    for person, roles in PEOPLE.items():
        path = place / "keys" / f"{person}.pem"
        keys[person] = make_key(path)
        enrol(registry, keys["ann"], person, public_path(path), roles, None)
    return _Beginning(place, registry, keys)
