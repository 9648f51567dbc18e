"""What an adversary tries at a registry, by class: does production hold, or does anybody use, what must not be?

Each attempt begins with `good` in production by the rules, and wants `bad` there. An attempt is accepted when
production then gives `bad`, or anything that `verify` has no fault to name of.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from worldtune.adapters.card import read_card
from worldtune.bench.registry_history import open_up
from worldtune.bench.registry_reports import GATES, SUITE, results_of
from worldtune.bench.registry_site import NAME, Site, make_site
from worldtune.errors import RegistryError
from worldtune.registry.add import add
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.enrolment import expect, retire, set_policy
from worldtune.registry.facts import Approved, Evaluated, Fact, Moved, Released
from worldtune.registry.log.event_log import Event, append_event
from worldtune.registry.log.rules import generation_of
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Registry
from worldtune.registry.standing import policy_now
from worldtune.registry.use import use
from worldtune.registry.verify import verify

LATER = "2999-01-01T00:00:00.000000Z"
OTHER = Policy(channels={"production": Rule(approvals=1), "*": Rule()})


@dataclass
class Scene:
    """A site, its registry, the release in production, and the one that must not come there."""

    site: Site
    registry: Registry
    good: Released
    bad: Released

    def says(self, person: str, fact: Fact) -> None:
        """Somebody's own program signs a fact for the next place and inserts it, whatever the rules say."""
        signer = self.site.key(person)
        with self.registry.view() as state:
            head, clock = state.head, state.clock
        draft = Event(head.sequence + 1, clock, person, signer.public_key.keyid, fact, "")
        with self.registry.engine.begin() as connection:
            append_event(connection, signer, self.registry.place.registry, head, draft)

    def moves(self, person: str = "sam", **changed: Any) -> None:
        """The same, of a move of production to `bad`."""
        with self.registry.view() as state:
            generation = generation_of(state, NAME, "production") + 1
            policy = policy_now(state).digest
        move = {"channel": "production", "generation": generation, "how": "promotion", "policy": policy}
        self.says(person, Moved.model_validate(self.bad.identity | move | changed))

    def judged(self, release: Released, outcome: str = "pass") -> None:
        name = "good" if release == self.good else "bad"
        results = results_of(read_card(self.site.folder / "sources" / name), self.site.adapter, outcome)
        said = {"person": "eva", "base": release.base, "suite": SUITE, "gates": GATES, "candidate": "new",
                "results": self.registry.store.put_bytes(results), "outcome": outcome, "expires": LATER}  # fmt: skip
        with self.registry.writer(self.site.key("eva")) as writer:
            writer.append(Evaluated.model_validate(release.identity | said))

    def approved(self, release: Released, lasts: timedelta = timedelta(days=1)) -> None:
        approve(self.registry, self.site.key("bob"), release.name, "production", "good", lasts)

    def ready(self) -> None:
        """`bad` is judged and approved, before something speaks against it."""
        self.judged(self.bad)
        self.approved(self.bad)

    def sql(self, command: str) -> None:
        """Somebody changes the database, without its triggers."""
        with self.registry.engine.begin() as connection:
            open_up(connection)
            connection.execute(text(command))


Attack = Callable[[Scene], None]


def attacks(place: Path, adapter: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Each class of attempts: its name, how many there are, and those that were accepted."""
    for kind, attempts in ATTACKS.items():
        accepted = []
        for name, attack in attempts.items():
            scene = make_scene(place / f"{kind} {name}".replace(" ", "-"), adapter)
            with suppress(RegistryError):  # the attempt itself was refused
                attack(scene)
            if _is_accepted(scene):
                accepted.append(name)
            scene.registry.engine.dispose()
        yield kind, len(attempts), accepted


def make_scene(place: Path, adapter: Path) -> Scene:
    """Production holds a release that was let in by the rules."""
    site = make_site(place, adapter)
    registry = site.registry()
    good, bad = (add(registry, site.key("sam"), NAME, site.another(name)).fact for name in ("good", "bad"))
    scene = Scene(site, registry, good, bad)
    scene.judged(good)
    scene.approved(good)
    promote(registry, site.key("sam"), good.name, "production")
    return scene


def _is_accepted(scene: Scene) -> bool:
    """Does production give anything but `good`, or an error? Or does nobody name what was done?"""
    try:
        used = use(f"{NAME}@production", lambda warning: None, scene.registry.folder).release
    except RegistryError:
        used = None
    return (used is not None and scene.good.digest not in used) or verify(scene.registry).sound


def _speaks_against(scene: Scene, what: str) -> None:
    """`bad` is ready, then something speaks against it; its maker's program promotes it all the same."""
    scene.ready()
    registry, key = scene.registry, scene.site.key
    acts: dict[str, Callable[[], object]] = {
        "fail": lambda: scene.judged(scene.bad, "fail"),
        "withdrawn": lambda: withdraw(registry, key("bob"), scene.bad.name, "production", "no"),
        "stale": lambda: expect(registry, key("ann"), NAME, "calibration", "9" * 64, "the camera was moved"),
        "policy": lambda: set_policy(registry, key("ann"), OTHER),
        "revoked": lambda: revoke(registry, key("bob"), scene.bad.name, "bad data"),
        "retired": lambda: retire(registry, key("ann"), key("sam").public_key.keyid, "left"),
        "stolen": lambda: retire(registry, key("ann"), key("bob").public_key.keyid, "lost", stolen=True),
    }
    acts[what]()
    scene.moves()


def _expired(scene: Scene) -> None:
    scene.judged(scene.bad)
    scene.approved(scene.bad, timedelta())
    scene.moves()


def _own_word(scene: Scene, kind: str, person: str) -> None:
    """A submitter approves or judges, in their own name or another's."""
    with scene.registry.view() as state:
        policy = policy_now(state).digest
    if kind == "approves":
        scene.judged(scene.bad)
        word = {"channel": "production", "policy": policy, "reason": "mine"}
        scene.says("sam", Approved.model_validate(scene.bad.identity | word | {"person": person, "expires": LATER}))
    else:
        scene.approved(scene.bad)
        word = {"base": scene.bad.base, "suite": "5" * 64, "gates": "6" * 64, "results": "7" * 64, "candidate": "new"}
        word |= {"person": person, "expires": LATER, "outcome": "pass"}
        scene.says("sam", Evaluated.model_validate(scene.bad.identity | word))
    scene.moves()


def _glass(scene: Scene, person: str, lasts: timedelta) -> None:
    with scene.registry.view() as state:
        expires = text_of(time_of(state.clock) + lasts)
    scene.moves(person, how="break-glass", reason="down", expires=expires)


def _glass_and_good_again(scene: Scene) -> None:
    _glass(scene, "ann", timedelta(seconds=1))
    promote(scene.registry, scene.site.key("sam"), scene.good.name, "production")


def _back(scene: Scene, first: Attack) -> None:
    """A rollback to what was never let in by the rules."""
    first(scene)
    scene.moves(how="rollback", reason="back")


def _false(scene: Scene, what: str, value: str) -> None:
    """The evil files, under a statement that speaks of others; then everybody lets it in who would."""
    false = scene.bad.model_copy(update={"adapter": "cell7/front/false", "number": 1, what: value})
    scene.says("sam", false)
    scene.judged(false)
    try:
        scene.approved(false)
        promote(scene.registry, scene.site.key("sam"), false.name, "production")
        use(false.name, lambda warning: None, scene.registry.folder)
    except RegistryError:
        return
    scene.bad = scene.good = false  # in use: accepted


def _database(scene: Scene, command: str) -> None:
    """Something speaks against `bad`; a writer of the database takes it away, and an honest promotion follows."""
    scene.ready()
    revoke(scene.registry, scene.site.key("bob"), scene.bad.name, "bad data")
    with scene.registry.view() as state:
        last = state.head.sequence
    scene.sql(command.format(last=last))
    promote(scene.registry, scene.site.key("sam"), scene.bad.name, "production")


def _foreign(scene: Scene, pad: bool) -> None:
    """ann's lax policy of another registry, at the place that it names, or copied to the next."""
    other = make_site(scene.site.folder / "rehearsal", scene.site.adapter, ann=scene.site.key("ann"))
    registry = other.registry()
    event = set_policy(registry, scene.site.key("ann"), Policy(channels={"*": Rule()}))
    with registry.engine.connect() as connection:
        row = connection.execute(text(f"SELECT * FROM event WHERE sequence = {event.sequence}")).one()
    with scene.registry.view() as state:
        place = state.head.sequence + 1
    values = {"sequence": event.sequence if pad else place, "hash": row.hash, "envelope": row.envelope}
    with scene.registry.engine.begin() as connection:
        open_up(connection)
        if pad:
            connection.execute(text(f"DELETE FROM event WHERE sequence >= {event.sequence}"))
        connection.execute(text("INSERT INTO event VALUES (:sequence, :hash, :envelope)"), values)
    promote(scene.registry, scene.site.key("sam"), scene.bad.name, "production")


AGAINST = ("fail", "withdrawn", "stale", "policy", "revoked", "retired", "stolen")
DAYS_73_YEARS = timedelta(days=365 * 73)
ATTACKS: dict[str, dict[str, Attack]] = {
    "appended past the rules": {
        **{what: partial(_speaks_against, what=what) for what in AGAINST},
        "expired": _expired,
        "never judged or approved": lambda scene: scene.moves(),
        **{f"{kind} as {who}": partial(_own_word, kind=kind, person=who)
           for kind, people in (("approves", ("sam", "bob")), ("judges", ("sam", "eva"))) for who in people},
        "break-glass by a submitter": lambda scene: _glass(scene, "sam", timedelta(hours=1)),
        "break-glass for 73 years": lambda scene: _glass(scene, "ann", DAYS_73_YEARS),
        "rollback to what was never let in": lambda scene: _back(scene, lambda it: it.moves()),
        "rollback to break-glass": lambda scene: _back(scene, _glass_and_good_again),
    },
    "files that are not those stated": {
        name: partial(_false, what=name, value=value)
        for name, value in (("weights", "a" * 64), ("card", "b" * 64), ("base", "c" * 64), ("provenance", "d" * 64),
                            ("digest", "e" * 64))
    },
    "rows changed by who owns the database": {
        "deleted": partial(_database, command="DELETE FROM event WHERE sequence = {last}"),
        "emptied": partial(_database, command="UPDATE event SET envelope = '{{}}' WHERE sequence = {last}"),
        "turned": partial(_database, command="UPDATE event SET sequence = sequence + 100 WHERE sequence = {last}"),
        "all deleted": partial(_database, command="DELETE FROM event"),
    },
    "events of another registry": {
        "at its own place": partial(_foreign, pad=True), "at the next place": partial(_foreign, pad=False),
    },
}  # fmt: skip
