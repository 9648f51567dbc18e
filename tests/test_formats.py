"""Every file format that outlives a process: its version constant and its fields, so that no change goes unnoticed.

To change a format, raise its version if it has one, and write the new digest of its fields here.
"""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel, TypeAdapter
from sqlalchemy import MetaData

VERSIONS = {
    # adapters
    "adapter.json": ("adapters.card:FORMAT", 5),
    # caches
    "latents and text": ("latents.encode:FORMAT", 3),
    "file_cache.sqlite: what frames look like": ("data.video.frame_features:FEATURES_FORMAT", "frame features 4"),
    "file_cache.sqlite: what decoding showed": ("data.video.video_index:INDEX_FORMAT", "video index 4"),
    "file_cache.sqlite: a LeRobot episode's rows": ("data.sources.lerobot.rows:FORMAT", "rows 5"),
    # evaluation
    "results.json": ("evaluation.report.saved_report:FORMAT", "worldtune report 8"),
    "votes": ("evaluation.report.votes:FORMAT", "worldtune votes 1"),
    # dreams
    "idm.json": ("dreams.idm.card:FORMAT", 1),
    "mixture.json": ("dreams.mixing.mixture:FORMAT", 1),
    # policy
    "policy.json": ("policy.card:FORMAT", 1),
    "a policy evaluation": ("policy.simulation.results:FORMAT", 1),
    "made_with.json": ("data.made_with:FORMAT", 1),
    # registry
    "registry.json": ("registry.registry:FORMAT", 3),
    "log.db": ("registry.store.schema:SCHEMA_VERSION", "0001"),
    "an event": ("registry.events.event:PREDICATE_TYPE", "urn:worldtune:registry:{}:1"),
    "a signed head": ("registry.exchange.signed_checkpoint:PREDICATE_TYPE", "urn:worldtune:registry:head:1"),
    "a release's manifest": ("registry.store.manifest:FORMAT", 1),
    "a release's provenance": ("registry.releases.provenance:BUILD_TYPE", "urn:worldtune:train:1"),
    "a bundle": ("registry.exchange.oci_bundle:ARTIFACT_TYPE", "application/vnd.worldtune.release.v1+json"),
    "revocations": ("registry.exchange.revocations:FORMAT", "worldtune revocations 1"),
}  # fmt: skip

FIELDS = {
    # adapters, bases, training
    "adapter.json": ("adapters.card:AdapterCard", "0914468486b9"),
    "recipe.yaml": ("training.recipe:Recipe", "c59418f9cc8d"),
    "checkpoint.sha256": ("core.tensors.dcp:DIGEST_FILE", "7c44148b9815"),
    "lineage.json, and the card's lineage": ("training.tracking.lineage:lineage", "53539bdd99b7"),
    "metrics.jsonl": ("training.run_files:_Row", "a43a4e0ee6b0"),
    "timing.json": ("training.run_files:_Timing", "1225ae6c1ae6"),
    "trackers.json": ("training.run_files:_Trackers", "0b3d22682451"),
    "worldtune.json of a base": ("models.resolve_base:TRAINED_AS", "99537f4bb040"),
    # data, caches
    "captions.yaml": ("data.captioning.captions:ReviewedCaption", "324ea2e448dc"),
    "ledger.parquet": ("data.ledger:SCHEMA", "d6b2eaa4d44c"),
    "latents' index": ("latents.store:SCHEMA", "1be8f398cebf"),
    "file_cache.sqlite": ("data.video.file_cache:CREATE_TABLE", "0c64e9b2f8bd"),
    "file_cache.sqlite: what decoding showed": ("data.video.video_index:VideoInfo", "106d46c5b393"),
    "file_cache.sqlite: what frames look like": ("data.video.frame_features:FrameFeatures", "a5dc487775b3"),
    "a cached score": ("evaluation.scores:Scores", "3a924ffca403"),
    "a judge's cached answer": ("evaluation.judging.judge:JudgeAnswer", "8bbac94891ee"),
    # generation, evaluation
    "a video's manifest": ("generation.manifest:manifest", "8ada92eb4256"),
    "a video's manifest: what was asked": ("generation.request:GenerationRequest", "ae45dbaa409b"),
    "results.json": ("evaluation.report.saved_report:SavedReport", "82d042edd1d1"),
    "scores.parquet": ("evaluation.report.scores_table:SCHEMA", "5cf59006d0da"),
    "votes": ("evaluation.report.votes:Ballot", "322f9ffe5317"),
    # dreams
    "idm.json": ("dreams.idm.card:IdmCard", "1f8fd0ef3ad9"),
    "mixture.json": ("dreams.mixing.mixture:Mixture", "dd1e8bef2fe6"),
    "study.json": ("dreams.study.settings:StudySettings", "3e048addf501"),
    "a study's policy": ("dreams.study.policies:PolicyResult", "f8e0b52dcfaf"),
    "results.json of a study": ("dreams.study.saved_results:StudyResults", "475fa503396c"),
    "forecast.json of a study": ("dreams.study.forecast:Forecast", "f7c9da03efa5"),
    # policy
    "policy.json": ("policy.card:PolicyCard", "4e3edb127077"),
    "a policy evaluation": ("policy.simulation.results:SavedEvaluation", "b891b0690680"),
    "made_with.json": ("data.made_with:MadeWith", "92aeb925c556"),
    "ledger.jsonl of dreams": ("dreams.ledger:DreamRow", "d400312445d7"),
    "request.yaml of dreams": ("dreams.request:DreamRequest", "1bb5417347c0"),
    "plan.json of dreams": ("dreams.dream_folder:DreamPlanRecord", "457d14e248a2"),
    "calibration.json of dreams": ("dreams.critics.calibrate:Calibration", "eb97aec04d72"),
    "meta/dreams.json of an export": ("dreams.export_set:ExportSettings", "b17bd872ca88"),
    # registry
    "registry.json": ("registry.registry:RegistryConfig", "adf492dee824"),
    "log.db": ("registry.store.schema:METADATA", "f2455f651575"),
    "the replica": ("registry.log.replica:CREATE_TABLE", "6c01fc283755"),
    "an event": ("registry.events.events:FACTS_BY_KIND", "34d590cd3751"),
    "a head that was seen": ("registry.log.seen_head:SeenHead", "53cca97b1f33"),
    "a signed head": ("registry.exchange.signed_checkpoint:SignedHead", "81b202174a30"),
    "a release's manifest": ("registry.store.manifest:Manifest", "5d198a6aca29"),
}  # fmt: skip


@pytest.mark.parametrize("file", VERSIONS)
def test_format_version_is_unchanged(file: str) -> None:
    constant, version = VERSIONS[file]
    assert named(constant) == version


@pytest.mark.parametrize("file", FIELDS)
def test_format_fields_are_unchanged(file: str) -> None:
    constant, digest = FIELDS[file]
    found = sorted(set(names(named(constant))))
    assert sha256("\n".join(found).encode()).hexdigest()[:12] == digest, f"{file} has the fields {', '.join(found)}"


def test_every_format_constant_is_listed() -> None:
    """A new format has its version in a constant named FORMAT, which VERSIONS must list."""
    package = Path(importlib.import_module("worldtune").__file__ or "").parent
    found = {
        f"{'.'.join(path.relative_to(package).with_suffix('').parts)}:{target.id}"
        for path in package.rglob("*.py")
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in ([statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets)
        if isinstance(target, ast.Name) and target.id.endswith("FORMAT")
    }
    assert found <= {constant for constant, _ in VERSIONS.values()}


def named(constant: str) -> Any:
    module, _, name = constant.partition(":")
    return getattr(importlib.import_module(f"worldtune.{module}"), name)


def names(shape: Any) -> Iterator[str]:
    """Yield the names of a format's fields, including nested fields."""
    if isinstance(shape, str):
        yield shape
    elif isinstance(shape, pa.Schema):
        yield from (f"{field.name} {field.type}" for field in shape)
    elif isinstance(shape, MetaData):
        yield from (f"{column.table.name}.{column.name}" for table in shape.tables.values() for column in table.columns)
    elif isinstance(shape, dict):
        yield from (f"{kind}.{name}" for kind, fact in shape.items() for name in names(fact))
    elif isinstance(shape, type) and (issubclass(shape, BaseModel) or hasattr(shape, "__pydantic_config__")):
        schema = TypeAdapter(shape).json_schema()
        for part in (schema, *schema.get("$defs", {}).values()):
            yield from part.get("properties", {})
    elif is_dataclass(shape):
        yield from (field.name for field in fields(shape))
    else:
        yield from returned_keys(shape)


def returned_keys(function: Any) -> Iterator[str]:
    """Yield the keys of the mapping that a function's last line returns."""
    file = Path(function.__code__.co_filename)
    written = next(
        node for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__
    )  # fmt: skip
    mapping = written.body[-1].value  # type: ignore[attr-defined]
    assert isinstance(mapping, ast.Dict)
    for key, value in zip(mapping.keys, mapping.values, strict=True):
        assert isinstance(key, ast.Constant)
        yield str(key.value)
        if isinstance(value, ast.Dict):
            yield from (f"{key.value}.{inner.value}" for inner in value.keys if isinstance(inner, ast.Constant))
