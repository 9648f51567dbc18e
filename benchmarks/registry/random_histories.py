"""Random histories by hypothesis, which chooses each act and its person and shrinks a failing history."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from securesystemslib.signer import CryptoSigner
from sqlalchemy import text

from benchmarks.registry.history import DEFAULT_ACTOR, KINDS, TAMPERINGS, History, disable_triggers, insert_row
from benchmarks.registry.site import own_folders
from worldtune.registry.events.events import Role
from worldtune.registry.governance.admin import enroll
from worldtune.registry.registry import Registry, create_registry
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.store.database import open_engine

PEOPLE: dict[str, tuple[Role, ...]] = {
    "sam": ("submitter",), "eva": ("evaluator",), "bob": ("approver",), "olga": ("admin",),
    "bea": ("submitter", "evaluator", "approver"),
}  # fmt: skip
EVERYBODY = sorted({"ann", *PEOPLE})
Choices = st.lists(st.integers(0, 9999), min_size=6, max_size=6)
STEPS = 14
PHASES = ("generate", "shrink")


def run_histories(place: Path, count: int, database: str | None = None) -> tuple[Counter[str], str]:
    """Run `count` histories. Return the number of tries of each act, and what misled a reader ("" if nothing did).

    `database` is the URL of an empty PostgreSQL database (default: SQLite).
    """
    counts: Counter[str] = Counter()
    with own_folders(place):
        start = start_registry(place, database)

    class Machine(RuleBasedStateMachine):
        """One history."""

        def __init__(self) -> None:
            super().__init__()
            self.history = start.new_history()
            counts["histories"] += 1

        @rule(
            choice=st.integers(0, 9), person=st.sampled_from(EVERYBODY), kind=st.sampled_from(KINDS),
            how=st.sampled_from(sorted(TAMPERINGS)), choices=Choices,
        )  # fmt: skip
        def act(self, choice: int, person: str, kind: str, how: str, choices: list[int]) -> None:
            if choice < 2:
                self.history.make_ready(choices)
            elif choice < 5:
                self.history.act_honestly(person if choice == 4 else DEFAULT_ACTOR[kind], kind, choices)
            elif choice < 7:
                self.history.append_unchecked(person, "channel_updated" if choices[5] % 2 else kind, choices)
            else:
                self.history.tamper(how, choices)
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


class StartingRegistry:
    """A registry with its people, from which each history starts."""

    def __init__(self, place: Path, registry: Registry, keys: dict[str, CryptoSigner]) -> None:
        self.place, self.registry, self.keys = place, registry, keys
        self.rows = History(registry, keys).chain

    def new_history(self) -> History:
        """Return a history of the registry in its initial state, for a client without a cache."""
        for folder in ("cache", "state"):
            shutil.rmtree(self.place / folder, ignore_errors=True)
        registry = replace(self.registry, engine=open_engine(self.registry.engine.url.render_as_string(False)))
        with registry.engine.begin() as connection:
            disable_triggers(connection)
            connection.execute(text("DELETE FROM event"))
            for row in self.rows:
                insert_row(connection, row)
        return History(registry, self.keys)


def start_registry(place: Path, database: str | None = None) -> StartingRegistry:
    """Create a registry in `place` with everybody's keys."""
    keys = {"ann": generate_key(place / "keys" / "ann.pem")}
    registry = create_registry(place, "ann", keys["ann"], database)
    for person, roles in PEOPLE.items():
        path = place / "keys" / f"{person}.pem"
        keys[person] = generate_key(path)
        enroll(registry, keys["ann"], person, public_key_path(path), roles, None)
    return StartingRegistry(place, registry, keys)
