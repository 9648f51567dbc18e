"""Search for tasks with room for improvement: `python -m benchmarks.dreams.room OUT --view left --k 1 2 5`.

Prints task × K × (few demonstrations, oracle, replay of true labels) with the seconds, and writes one JSON file for
each task. Tasks that have a file are not measured again, so that the search continues where it was stopped.
"""

import argparse
from pathlib import Path

from worldtune.core.files import write_json
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import read_json_object
from worldtune.policy.simulation.in_simulator import open_scene
from worldtune.policy.simulation.room import Room, measure_room
from worldtune.policy.spec import PolicySpec

HEADING = f"{'task':<22}{'view':<10}{'K':>3}{'few':>7}{'oracle':>8}{'room':>6}{'commands':>10}{'path':>7}{'seconds':>9}"


def main() -> None:
    """Print the table of the chosen tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--view", default="left")
    parser.add_argument("--k", nargs="+", type=int, default=[2, 5])
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--resets", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--output", choices=["displacement", "command"], default="command")
    args = parser.parse_args()
    spec = PolicySpec(steps=args.steps, output=args.output)
    print(HEADING)
    for task in args.tasks:
        path = args.out / f"{args.view}__{task}.json"
        if not path.exists():
            with open_scene(task, args.view) as scene:
                try:
                    room = measure_room(scene, args.k, args.clips, args.resets, spec)
                except RuntimeError as error:
                    print(f"{task:<22}{args.view:<10} {error}", flush=True)
                    continue
            write_json(path, room.model_dump(mode="json"))
        print_room(parse_model(Room, read_json_object(path), str(path)))


def print_room(room: Room) -> None:
    """Print a line for each K: successes are percent of the resets, replays percent of the true clips."""
    for k, few in room.few.items():
        percent = 100 * sum(few) / len(few) / room.resets
        oracle = 100 * sum(room.oracle) / len(room.oracle) / room.resets
        commands, paths = (100 * count / room.clips for count in (room.replayed_commands, room.replayed_paths))
        row = f"{room.task:<22}{room.view:<10}{k:>3}{percent:>6.0f}%{oracle:>7.0f}%{room.points(k):>+6.0f}"
        print(f"{row}{commands:>9.0f}%{paths:>6.0f}%{room.seconds:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
