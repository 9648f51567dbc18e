"""worldtune: tune a video world model to one robot, prove that it helps, and ship it with a paper trail.

    import worldtune as wt

    recipe = wt.load_recipe("my-robot.yaml", ["train.steps=500"])    # or the name of a shipped recipe
    data = wt.open_dataset("data/my_robot", frames=21, fps=16)       # the clips, and why others are not used
    print(wt.plan(recipe, gpu="rtx4090"))                            # GiB, hours, and the settings that fit
    run = wt.train(recipe, out="runs/a", resume="auto")              # an adapter, its metrics, its card
    videos = wt.generate(adapter=run.adapter, prompt="the robot opens the drawer", image="first.png")
    frames = wt.rollout(frame, actions, adapter=run.adapter)         # if the adapter was trained with actions
    result = wt.evaluate([run], gates="default")                     # compared with the base and two controls
    release = wt.Registry.open().add("cell7/front/pick", run)        # names, evidence, approval, rollback
    idm = wt.train_idm(recipe, out="runs/idm")                       # reads actions and states from videos
    labels = wt.label([video.path for video in videos], idm)         # the actions of generated videos

Every function does the same as the command-line verb of its name and raises the same errors: a `UserError` says what is
wrong, where, and what to do. Long functions take `progress`, a function of (done, total, note=""); the note begins with
the name of the stage. Notes and warnings go to the logger "worldtune". Large libraries are imported when first needed.

The types of arguments and results are here too, such as Dataset, Recipe and TrainingRun. `help(worldtune.Plan)` lists
the fields of a plan, and so on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from worldtune.core.version import __version__ as __version__

if TYPE_CHECKING:
    from worldtune.api import (
        blend_adapters,
        convert_adapter,
        dream,
        dream_study,
        evaluate,
        evaluate_idm,
        evaluate_policy,
        generate,
        join_dream_studies,
        label,
        load_recipe,
        merge_adapter,
        open_base,
        open_dataset,
        open_dreams,
        plan,
        rollout,
        train,
        train_idm,
        train_policy,
    )
    from worldtune.data.dataset import Dataset as Dataset
    from worldtune.dreams.dream_set import DreamSet as DreamSet
    from worldtune.dreams.idm.labels import Labels as Labels
    from worldtune.dreams.idm.model import InverseDynamics as InverseDynamics
    from worldtune.dreams.idm.session import IdmRun as IdmRun
    from worldtune.dreams.request import DreamRequest as DreamRequest
    from worldtune.dreams.study.study import DreamStudy as DreamStudy
    from worldtune.errors import UserError as UserError
    from worldtune.evaluation.evaluate import EvaluationResult as EvaluationResult
    from worldtune.generation.batch import GeneratedVideo as GeneratedVideo
    from worldtune.generation.request import GenerationRequest as GenerationRequest
    from worldtune.models.world import World as World
    from worldtune.planning.plan import Plan as Plan
    from worldtune.policy.folder import SavedPolicy as SavedPolicy
    from worldtune.policy.simulation.results import PolicyEvaluation as PolicyEvaluation
    from worldtune.registry.facade import Registry
    from worldtune.training.recipe import Recipe as Recipe
    from worldtune.training.session import TrainingRun as TrainingRun

__all__ = [
    "Registry",
    "blend_adapters",
    "convert_adapter",
    "dream",
    "dream_study",
    "evaluate",
    "evaluate_idm",
    "evaluate_policy",
    "generate",
    "join_dream_studies",
    "label",
    "load_recipe",
    "merge_adapter",
    "open_base",
    "open_dataset",
    "open_dreams",
    "plan",
    "rollout",
    "train",
    "train_idm",
    "train_policy",
]
_CLASSES = {
    "Dataset": "data.dataset",
    "DreamRequest": "dreams.request",
    "DreamSet": "dreams.dream_set",
    "DreamStudy": "dreams.study.study",
    "EvaluationResult": "evaluation.evaluate",
    "GeneratedVideo": "generation.batch",
    "GenerationRequest": "generation.request",
    "IdmRun": "dreams.idm.session",
    "InverseDynamics": "dreams.idm.model",
    "Labels": "dreams.idm.labels",
    "Plan": "planning.plan",
    "PolicyEvaluation": "policy.simulation.results",
    "Recipe": "training.recipe",
    "Registry": "registry.facade",
    "SavedPolicy": "policy.folder",
    "TrainingRun": "training.session",
    "UserError": "errors",
    "World": "models.world",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when the name is first used."""
    if name not in __all__ and name not in _CLASSES:
        raise AttributeError(f"module 'worldtune' has no attribute {name!r}")
    return getattr(import_module(f"worldtune.{_CLASSES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_CLASSES})
