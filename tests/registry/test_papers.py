"""The model card and the bill of materials: valid, complete, and safe with hostile names."""

import json
from importlib import resources
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry as Schemas
from referencing import Resource

from worldtune.registry.add import add
from worldtune.registry.papers import papers_of, write_papers

from .conftest import NAME, Team
from .test_lineage import CARD


@pytest.fixture
def papers(team: Team) -> dict[str, bytes]:
    add(team.registry, team["sam"], NAME, team.another(lineage=CARD | {"versions": {"torch": "2.13.0"}}))
    return papers_of(team.registry, f"{NAME}@1")


def validator() -> Draft7Validator:
    """CycloneDX's own schema, with those that it refers to."""
    folder = resources.files("cyclonedx.schema") / "_res"

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    others = [read(name) for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")]
    schemas: Schemas[Any] = Schemas().with_resources([(its["$id"], Resource.from_contents(its)) for its in others])
    return Draft7Validator(read("bom-1.6.SNAPSHOT.schema.json"), registry=schemas)


def test_the_bill_of_materials_is_valid_against_its_schema(papers: dict[str, bytes]) -> None:
    bom = json.loads(papers["bom.cdx.json"])
    assert [error.message for error in validator().iter_errors(bom)] == []
    assert [error.message for error in validator().iter_errors(bom | {"components": [{"type": "nonsense"}]})]
    main = bom["metadata"]["component"]
    assert (main["name"], main["version"], main["type"]) == (NAME, "1", "machine-learning-model")
    assert {part["type"] for part in bom["components"]} == {"file", "machine-learning-model", "library"}


def test_the_front_matter_is_what_the_hub_reads(papers: dict[str, bytes]) -> None:
    _, head, body = papers["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["base_model"] == "nvidia/Cosmos-Predict2.5-2B"
    assert (told["base_model_relation"], told["library_name"]) == ("adapter", "diffusers")
    assert (told["license"], told["license_name"]) == ("other", "NVIDIA Open Model License")
    assert "Built on NVIDIA Cosmos." in body
    assert "no statement of safety or of conformity" in body


def test_a_hostile_name_stays_text(team: Team) -> None:
    hostile = {"base": {"source": "<img src=x onerror=alert(1)>|a\n# b", "licence": "Apache-2.0"}}
    add(team.registry, team["sam"], NAME, team.another(lineage=hostile))
    body = papers_of(team.registry, f"{NAME}@1")["README.md"].decode().split("---\n", 2)[2]
    row = next(line for line in body.splitlines() if line.startswith("| base |"))
    assert "<img" not in row
    assert row.count("|") - row.count("\\|") == 3
    assert "Built on NVIDIA Cosmos" not in body


def test_they_are_written_side_by_side(team: Team, papers: dict[str, bytes]) -> None:
    written = write_papers(team.registry, f"{NAME}@1", team.folder / "papers")
    assert {path.name: path.read_bytes() for path in written} == papers
