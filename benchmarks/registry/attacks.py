"""Attacks on a registry, by class: can an attacker get a forbidden release into production?

Each attack starts with `good` in production and tries to put `bad` there. An attack is accepted if production then
returns `bad`, or if `verify` reports no fault.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.registry.history import disable_triggers
from benchmarks.registry.reports import GATES, SUITE, make_results
from benchmarks.registry.site import NAME, Site, make_site
from worldtune.adapters.card import read_card
from worldtune.errors import RegistryError
from worldtune.registry.clock import format_time, parse_time
from worldtune.registry.events.events import ChannelUpdated, Fact, ReleaseAdded, ReleaseApproved, ReleaseEvaluated
from worldtune.registry.governance.admin import retire_key, set_expectation, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.event_log import Event, append_event
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.rules import channel_generation
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.verify import verify

LATER = "2999-01-01T00:00:00.000000Z"
OTHER = Policy(channels={"production": ChannelRule(approvals=1), "*": ChannelRule()})


@dataclass
class Scene:
    """A site, its registry, the release in production, and the release that must not get there."""

    site: Site
    registry: Registry
    good: ReleaseAdded
    bad: ReleaseAdded

    def append_unchecked(self, person: str, fact: Fact) -> None:
        """Sign an event for the next position and insert it without checking the rules."""
        signer = self.site.key(person)
        with self.registry.view() as state:
            head, clock = state.head, state.clock
        draft = Event(head.sequence + 1, clock, person, signer.public_key.keyid, fact, "")
        with self.registry.engine.begin() as connection:
            append_event(connection, signer, self.registry.config.registry, head, draft)

    def promote_unchecked(self, person: str = "sam", **changed: Any) -> None:
        """Append a promotion of `bad` to production without checking the rules."""
        with self.registry.view() as state:
            generation = channel_generation(state, NAME, "production") + 1
            policy = current_policy(state).digest
        move = {"channel": "production", "generation": generation, "action": "promotion", "policy": policy}
        self.append_unchecked(person, ChannelUpdated.model_validate(self.bad.identity | move | changed))

    def record_evaluation(self, release: ReleaseAdded, outcome: str = "pass") -> None:
        name = "good" if release == self.good else "bad"
        results = make_results(read_card(self.site.folder / "sources" / name), self.site.adapter, outcome)
        evaluation = {"person": "eva", "base": release.base, "suite": SUITE, "gates": GATES, "candidate": "new",
                "results": self.registry.store.put_bytes(results), "outcome": outcome, "expires": LATER}  # fmt: skip
        with self.registry.writer(self.site.key("eva")) as writer:
            writer.append(ReleaseEvaluated.model_validate(release.identity | evaluation))

    def record_approval(self, release: ReleaseAdded, valid_for: timedelta = timedelta(days=1)) -> None:
        approve(self.registry, self.site.key("bob"), release.name, "production", "good", valid_for)

    def evaluate_and_approve(self) -> None:
        """Evaluate and approve `bad`, before an objection is added."""
        self.record_evaluation(self.bad)
        self.record_approval(self.bad)

    def sql(self, command: str) -> None:
        """Change the database without its triggers."""
        with self.registry.engine.begin() as connection:
            disable_triggers(connection)
            connection.execute(text(command))


Attack = Callable[[Scene], None]


def attacks(place: Path, adapter: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Yield each class of attacks: its name, the number of attacks, and the names of the accepted ones."""
    for kind, attacks_by_name in ATTACKS.items():
        accepted = []
        for name, attack in attacks_by_name.items():
            scene = make_scene(place / f"{kind} {name}".replace(" ", "-"), adapter)
            with suppress(RegistryError):  # the attack itself was rejected
                attack(scene)
            if _is_accepted(scene):
                accepted.append(name)
            scene.registry.engine.dispose()
        yield kind, len(attacks_by_name), accepted


def make_scene(place: Path, adapter: Path) -> Scene:
    """Return a scene with a properly promoted release in production."""
    site = make_site(place, adapter)
    registry = site.registry()
    good, bad = (add_release(registry, site.key("sam"), NAME, site.copy_adapter(name)).fact for name in ("good", "bad"))
    scene = Scene(site, registry, good, bad)
    scene.record_evaluation(good)
    scene.record_approval(good)
    promote(registry, site.key("sam"), good.name, "production")
    return scene


def _is_accepted(scene: Scene) -> bool:
    """Return whether production returns another release than `good`, or `verify` reports no fault."""
    try:
        checked_out = resolve_adapter(f"{NAME}@production", lambda warning: None, scene.registry.folder).release
    except RegistryError:
        checked_out = None
    return (checked_out is not None and scene.good.digest not in checked_out) or verify(scene.registry).is_valid


def _promote_despite(scene: Scene, what: str) -> None:
    """Make `bad` ready, add an objection, and promote it without checking the rules."""
    scene.evaluate_and_approve()
    registry, key = scene.registry, scene.site.key
    objections: dict[str, Callable[[], object]] = {
        "fail": lambda: scene.record_evaluation(scene.bad, "fail"),
        "withdrawn": lambda: withdraw_approval(registry, key("bob"), scene.bad.name, "production", "no"),
        "stale": lambda: set_expectation(registry, key("ann"), NAME, "calibration", "9" * 64, "the camera was moved"),
        "policy": lambda: set_policy(registry, key("ann"), OTHER),
        "revoked": lambda: revoke_release(registry, key("bob"), scene.bad.name, "bad data"),
        "retired": lambda: retire_key(registry, key("ann"), key("sam").public_key.keyid, "left"),
        "stolen": lambda: retire_key(registry, key("ann"), key("bob").public_key.keyid, "lost", stolen=True),
    }
    objections[what]()
    scene.promote_unchecked()


def _promote_expired(scene: Scene) -> None:
    scene.record_evaluation(scene.bad)
    scene.record_approval(scene.bad, timedelta())
    scene.promote_unchecked()


def _approve_or_evaluate_own(scene: Scene, kind: str, person: str) -> None:
    """Approve or evaluate as a submitter, in their own name or another's."""
    with scene.registry.view() as state:
        policy = current_policy(state).digest
    if kind == "approves":
        scene.record_evaluation(scene.bad)
        statement = {"channel": "production", "policy": policy, "reason": "mine"}
        scene.append_unchecked(
            "sam", ReleaseApproved.model_validate(scene.bad.identity | statement | {"person": person, "expires": LATER})
        )
    else:
        scene.record_approval(scene.bad)
        statement = {
            "base": scene.bad.base,
            "suite": "5" * 64,
            "gates": "6" * 64,
            "results": "7" * 64,
            "candidate": "new",
        }
        statement |= {"person": person, "expires": LATER, "outcome": "pass"}
        scene.append_unchecked("sam", ReleaseEvaluated.model_validate(scene.bad.identity | statement))
    scene.promote_unchecked()


def _break_glass(scene: Scene, person: str, valid_for: timedelta) -> None:
    with scene.registry.view() as state:
        expires = format_time(parse_time(state.clock) + valid_for)
    scene.promote_unchecked(person, action="break-glass", reason="down", expires=expires)


def _break_glass_and_restore(scene: Scene) -> None:
    _break_glass(scene, "ann", timedelta(seconds=1))
    promote(scene.registry, scene.site.key("sam"), scene.good.name, "production")


def _roll_back(scene: Scene, first: Attack) -> None:
    """Roll back to a release that was never properly promoted."""
    first(scene)
    scene.promote_unchecked(action="rollback", reason="back")


def _add_false_release(scene: Scene, what: str, value: str) -> None:
    """Add `bad` files under a statement about other files; then evaluate, approve and promote it."""
    false_release = scene.bad.model_copy(update={"adapter": "cell7/front/false", "number": 1, what: value})
    scene.append_unchecked("sam", false_release)
    scene.record_evaluation(false_release)
    try:
        scene.record_approval(false_release)
        promote(scene.registry, scene.site.key("sam"), false_release.name, "production")
        resolve_adapter(false_release.name, lambda warning: None, scene.registry.folder)
    except RegistryError:
        return
    scene.bad = scene.good = false_release  # it is in use, so the attack was accepted


def _change_database(scene: Scene, command: str) -> None:
    """Revoke `bad`, hide the revocation in the database, and promote honestly."""
    scene.evaluate_and_approve()
    revoke_release(scene.registry, scene.site.key("bob"), scene.bad.name, "bad data")
    with scene.registry.view() as state:
        last = state.head.sequence
    scene.sql(command.format(last=last))
    promote(scene.registry, scene.site.key("sam"), scene.bad.name, "production")


def _copy_foreign_policy(scene: Scene, pad: bool) -> None:
    """Copy ann's lax policy of another registry to the position that it names, or to the next one."""
    other = make_site(scene.site.folder / "rehearsal", scene.site.adapter, ann=scene.site.key("ann"))
    registry = other.registry()
    event = set_policy(registry, scene.site.key("ann"), Policy(channels={"*": ChannelRule()}))
    with registry.engine.connect() as connection:
        row = connection.execute(text(f"SELECT * FROM event WHERE sequence = {event.sequence}")).one()
    with scene.registry.view() as state:
        position = state.head.sequence + 1
    values = {"sequence": event.sequence if pad else position, "hash": row.hash, "envelope": row.envelope}
    with scene.registry.engine.begin() as connection:
        disable_triggers(connection)
        if pad:
            connection.execute(text(f"DELETE FROM event WHERE sequence >= {event.sequence}"))
        connection.execute(text("INSERT INTO event VALUES (:sequence, :hash, :envelope)"), values)
    promote(scene.registry, scene.site.key("sam"), scene.bad.name, "production")


OBJECTIONS = ("fail", "withdrawn", "stale", "policy", "revoked", "retired", "stolen")
DAYS_73_YEARS = timedelta(days=365 * 73)
ATTACKS: dict[str, dict[str, Attack]] = {
    "appended against the rules": {
        **{what: partial(_promote_despite, what=what) for what in OBJECTIONS},
        "expired": _promote_expired,
        "never evaluated or approved": lambda scene: scene.promote_unchecked(),
        **{f"{kind} as {who}": partial(_approve_or_evaluate_own, kind=kind, person=who)
           for kind, people in (("approves", ("sam", "bob")), ("evaluates", ("sam", "eva"))) for who in people},
        "break-glass by a submitter": lambda scene: _break_glass(scene, "sam", timedelta(hours=1)),
        "break-glass for 73 years": lambda scene: _break_glass(scene, "ann", DAYS_73_YEARS),
        "rollback to a never promoted release": lambda scene: _roll_back(scene, lambda it: it.promote_unchecked()),
        "rollback to break-glass": lambda scene: _roll_back(scene, _break_glass_and_restore),
    },
    "false statements of files": {
        name: partial(_add_false_release, what=name, value=value)
        for name, value in (("weights", "a" * 64), ("card", "b" * 64), ("base", "c" * 64), ("provenance", "d" * 64),
                            ("digest", "e" * 64))
    },
    "rows changed by the database's owner": {
        "deleted": partial(_change_database, command="DELETE FROM event WHERE sequence = {last}"),
        "emptied": partial(_change_database, command="UPDATE event SET envelope = '{{}}' WHERE sequence = {last}"),
        "turned": partial(
            _change_database, command="UPDATE event SET sequence = sequence + 100 WHERE sequence = {last}"
        ),
        "all deleted": partial(_change_database, command="DELETE FROM event"),
    },
    "events of another registry": {
        "at its own position": partial(_copy_foreign_policy, pad=True),
        "at the next position": partial(_copy_foreign_policy, pad=False),
    },
}  # fmt: skip
