import json
from dataclasses import asdict

from conftest import CommandLine
from worldtune.worlds.catalog import KNOWN_BASES


def test_json_holds_the_whole_catalogue(worldtune: CommandLine) -> None:
    done = worldtune("bases", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(json.dumps([asdict(base) for base in KNOWN_BASES]))


def test_table_has_two_lines_for_every_base(worldtune: CommandLine) -> None:
    heading, *lines = worldtune("bases").stdout.splitlines()
    assert heading.split() == ["base", "parameters", "bf16", "pictures", "schedule", "given", "frames", "see"]
    assert len(lines) == 2 * len(KNOWN_BASES)
    for base, row, origin in zip(KNOWN_BASES, lines[::2], lines[1::2], strict=True):
        assert row.split()[0] == base.name
        assert f"{base.frames} of {base.height}×{base.width} at {base.fps} fps" in row
        assert (base.repo or "ships with worldtune") in origin
        assert base.licence in origin
        assert base.text_encoder in origin
        assert ("cannot open" in origin) == (not base.opened)


def test_table_gives_each_base_its_own_schedule(worldtune: CommandLine) -> None:
    rows = {line.split()[0]: line for line in worldtune("bases").stdout.splitlines()[1::2]}
    assert rows["predict2.5-2b/post-trained"].split()[-4:] == ["200…0.01", "σ", "=", "0.0001"]
    assert "shift 5" in rows["predict2.5-2b/pre-trained"]
    assert rows["predict2.5-2b/pre-trained"].endswith("the same σ")
    assert " 2.06 B    4.1 GB " in rows["predict2.5-2b/post-trained"]
