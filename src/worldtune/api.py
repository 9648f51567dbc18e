"""The public API: the functions of `import worldtune as wt`. Each one delegates to the package that does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from worldtune.core.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    from worldtune.adapters.alphas import AlphaValue
    from worldtune.adapters.used import Used
    from worldtune.core.actions.space import ActionSpace
    from worldtune.data.dataset import Dataset
    from worldtune.dreams.dream_set import DreamSet
    from worldtune.dreams.idm.labels import Labels
    from worldtune.dreams.idm.model import InverseDynamics
    from worldtune.dreams.idm.session import IdmRun
    from worldtune.dreams.idm.video import VideoToLabel
    from worldtune.dreams.making.budget import OnBudget
    from worldtune.dreams.request import DreamRequest
    from worldtune.dreams.study.study import DreamStudy
    from worldtune.evaluation.evaluate import EvaluationResult
    from worldtune.generation.adapter_exchange import BlendedAdapter, ConvertedAdapter, MergedAdapter
    from worldtune.generation.batch import GeneratedVideo
    from worldtune.generation.best_of_n import Critic
    from worldtune.generation.collect_requests import Adapters, Requests
    from worldtune.generation.guardrails import Guardrails
    from worldtune.models.memory.offload import Offload
    from worldtune.models.world import World
    from worldtune.planning.plan import Plan
    from worldtune.policy.folder import SavedPolicy
    from worldtune.policy.simulation.results import PolicyEvaluation
    from worldtune.training.recipe import Recipe
    from worldtune.training.session import TrainingRun, TrainingStart


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, or the shipped recipe with this name.

    Each override is `section.key=value`, as on the command line; the value is YAML.

    Raises:
        RecipeError: The recipe does not exist or is not YAML, or a key or value is wrong. The message suggests the
            closest known name.

    Example:
        >>> recipe = wt.load_recipe("pocket-new-view", ["train.steps=2", "train.warmup=1", "replay=null"])
        >>> recipe.base, recipe.train.steps, recipe.adapter.method
        ('pocket', 2, 'lora')
    """
    from worldtune.training.recipe import find_recipe

    return find_recipe(recipe, overrides)


def open_dataset(
    source: str | Path,
    *,
    frames: int = 21,
    fps: float = 16.0,
    height: int = 64,
    width: int = 64,
    strict: bool = True,
    progress: Progress | None = None,
    **settings: Any,
) -> Dataset:
    """Return the clips of a dataset, split into training and held-out clips, with a ledger of all clips.

    `source` is a folder or file (LeRobot, mp4, HDF5, ROS, Zarr, RLDS), `hf:OWNER/NAME@REVISION` or `builtin:NAME`.
    A clip has `frames` images of `height`×`width` pixels at `fps` frames per second. `settings` are other keys of a
    recipe's data section, such as cameras, caption or held_out. Every frame is decoded once, so the counts are exact.
    A clip that cannot be used has a row in `.ledger` with the reason.

    Raises:
        DataError: The source cannot be read, or the dataset has a fault, such as footage that is both held out and
            trained on. With strict=False, faults do not raise: the dataset is returned with them in `.faults`.
        RecipeError: A setting is unknown or wrong.

    Example:
        >>> data = wt.open_dataset("builtin:pocket-new-view", frames=21, fps=16, held_out=0.5)
        >>> len(data.train), len(data.held_out), data.ledger.share_skipped()
        (24, 24, 0.0)
        >>> data.train[0].caption
        'Seen from above: the robot arm reaches the red ball.'
    """
    from worldtune.core.settings import parse_model
    from worldtune.data.dataset import build_dataset, check_faults
    from worldtune.data.spec import DataSpec

    size = {"frames": frames, "fps": fps, "height": height, "width": width}
    spec = parse_model(DataSpec, {"path": str(source), **size, **settings}, "open_dataset")
    dataset = build_dataset(spec, progress or silent)
    if strict:
        check_faults(dataset, spec)
    return dataset


def open_base(name: str = "pocket", *, device: str | None = None, offload: Offload = "none") -> World:
    """Return a frozen base model to pass to `train`, `generate` and `evaluate`, so that it is loaded only once.

    `name` is a known base (`worldtune bases`), a folder in diffusers' layout, `owner/repo@revision`, or BASE=FOLDER
    for a folder that does not state how it was trained. `device` is "cpu", "cuda" or None (a GPU if there is one).
    `offload` is "none", "sequential" (one model part on the GPU at a time) or "group" (one block at a time).
    `.encode` turns uint8 images frames_BTHWC into normalized latents z_BCTHW, `.decode` turns them back; `.velocity`
    predicts v_BCTHW at noise levels sigma_BT in [0, 1].

    Raises:
        BaseError: A part or tensor is missing, a tensor is unknown or has the wrong shape, or the folder does not
            state how the base was trained.
        UserError: The device does not exist.

    Example:
        >>> base = wt.open_base("pocket")
        >>> base.card.name, base.card.frames, base.card.height, base.card.width, base.card.fps
        ('pocket', 21, 64, 64, 16)
    """
    from worldtune.models.load import open_world_on

    return open_world_on(device, name, offload)


def plan(
    what: Recipe | str | Path,
    *,
    gpu: str | None = None,
    memory: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: int | None = None,
    utilization: float | None = None,
    dreams: int | None = None,
) -> Plan:
    """Return the memory and time that training or generating a video needs, and the settings that fit a GPU.

    `what` is a recipe (plans its training) or a base's name (plans a video). The video has `frames` images of
    `height`×`width` pixels (default: the base's size) and takes `steps` (35) with `guidance`. `gpu` is a GPU's name,
    such as "rtx4090"; or give its `memory`, such as "24GB". The time assumes that the GPU reaches `utilization` (0.4)
    of its peak speed. The plan is computed from shapes in bfloat16, without a GPU or weights. With `dreams`, the plan's
    `.dreams` has the time, GPU-hours and disk of that many such videos, labeled with actions.

    Raises:
        RecipeError: The base cannot be trained, or cannot make the video, with these settings.
        UserError: The recipe, base or GPU is unknown.

    Example:
        >>> plan = wt.plan("pocket", gpu="rtx4090")
        >>> plan.fits_with, plan.usable_gib > 22
        ('--offload none', True)
        >>> print(plan)
        a video of pocket, 21 frames of 64×64, bfloat16, on one GPU: GiB at most, and PFLOP of all steps
        ...
    """
    from worldtune.planning.plan import UTILIZATION, VideoSettings, card_of, plan_what

    video = VideoSettings(frames, height, width, steps, guidance, dreams)
    card = card_of(gpu, memory, utilization)
    return plan_what(what, video, card, UTILIZATION if utilization is None else utilization)


def train(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool | Literal["auto"] = False,
    allow_change: bool = False,
    base: World | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    on_start: Callable[[TrainingStart], None] | None = None,
) -> TrainingRun:
    """Train an adapter from a recipe, and return the run: `.adapter`, `.metrics` and `.card`.

    `out` is the run folder (default: runs/RECIPE_NAME). It must be new, or contain the run to `resume` ("auto": resume
    if the folder contains a run). A resumed run continues bit for bit; `allow_change` lets it continue with another
    recipe or other data. Clips and prompts are encoded once, before training. A preflight check before step 1 and a
    check after the last step prove that the base's weights were loaded and that the adapter changes the output. `base`
    is a base that is already open. `on_start` is called before the first step with the clips that will be used. To
    train on several GPUs, run the script with torchrun.

    Raises:
        RecipeError: The base or the machine cannot train with this recipe.
        DataError: A dataset cannot be read or must not be trained on.
        PreflightError: The check before or after training fails, so the adapter would provably do nothing.
        UserError: The folder contains another run, a loss is not finite, or a process of the run was lost.

    Example:
        >>> recipe = wt.load_recipe("pocket-new-view", ["train.steps=2", "train.warmup=1", "replay=null",
        ...                                             "train.preview_every=null", "validate.sigmas=1"])
        >>> run = wt.train(recipe, out="runs/first")
        >>> run.adapter
        PosixPath('runs/first/adapter')
        >>> [row["step"] for row in run.metrics if "loss" in row]
        [1, 2]
        >>> run.card.adapter.method, run.card.adapter.rank, run.card.base
        ('lora', 32, 'pocket')
    """
    from worldtune.evaluation.report.training_pictures import draw_losses, write_preview
    from worldtune.planning.step_speed import Speed
    from worldtune.training.recipe import Recipe, find_recipe
    from worldtune.training.session import Observers, Session, train_recipe

    loaded = recipe if isinstance(recipe, Recipe) else find_recipe(recipe, [])
    observers = Observers(progress or silent, on_start, Speed(loaded).note, write_preview, draw_losses)
    folder = Path("runs") / loaded.name if out is None else Path(out)
    return train_recipe(loaded, folder, Session(resume, allow_change, device), observers, base)


def generate(
    requests: Requests = None,
    *,
    base: str | World = "pocket",
    out: str | Path = "videos",
    name: str | None = None,
    prompt: str | None = None,
    image: str | Path | None = None,
    video: str | Path | None = None,
    inference_type: str | None = None,
    adapter: Adapters = None,
    alpha: AlphaValue = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: int | None = None,
    actions: str | Path | None = None,
    action_guidance: float | None = None,
    best_of: int = 1,
    critic: Critic | str | None = None,
    guardrails: Guardrails = "available",
    device: str | None = None,
    offload: Offload = "none",
    compiled: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_video: Callable[[GeneratedVideo], None] | None = None,
) -> list[GeneratedVideo]:
    """Generate videos, and return them: each has `.path` (mp4), `.manifest`, and `.read()` for the frames.

    Give `requests` (a JSON, JSONL or YAML request file, or a sequence of GenerationRequest), or a `prompt` for one
    video, which can continue an `image` or the last frames of a `video`. `adapter` is a folder or file in any tool's
    format, a release such as "cell7/front/pick@production", a list of these, or a mapping from them to strengths. It
    sets the frame count, size and frame rate that it was trained on. `alpha` is for adapter files that do not state
    it: "rank", a number, or a mapping from paths. `guidance` g (0 to 7) computes v + g·(v − v_negative). An adapter
    that reads `actions` needs a .npz file (`actions`, and `states` if it reads them), a .parquet file (`action`,
    `observation.state`) or DATASET#EPISODE, with one row between each two frames; `action_guidance` a (0 to 7) adds
    a·(v − v without actions). `critic` takes uint8 frames_THWC and the prompt, and returns a score; of `best_of` seeds
    the video with the highest score is kept.
    `on_video` is called after each video is written.

    Raises:
        RecipeError, DataError, AdapterError: A request is invalid. All are checked before the first is sampled.
        UserError: A video already exists (overwrite=True replaces it), or the guardrails reject a prompt or a video.

    Example:
        >>> (video,) = wt.generate(prompt="the robot arm opens the drawer", adapter="runs/first", steps=2, out="videos")
        >>> video.path
        PosixPath('videos/video.mp4')
        >>> video.read().shape, video.manifest["request"]["seed"], video.manifest["video"]["fps"]
        ((21, 64, 64, 3), 0, 16.0)
    """
    from worldtune.adapters.alphas import alphas_of
    from worldtune.generation.batch import GenerationSettings, generate_videos
    from worldtune.generation.collect_requests import Options, collect_requests, input_of, path_text
    from worldtune.registry.named_adapter import with_releases

    options = Options(name, inference_type, prompt, input_of(image, video), seed, steps, guidance, path_text(actions),
                      action_guidance)  # fmt: skip
    asked = with_releases(collect_requests(requests, options, adapter))
    settings = GenerationSettings(
        base, device, offload, compiled, guardrails, best_of, critic, overwrite, alphas_of(alpha)
    )
    videos = []
    for generated in generate_videos(asked, Path(out), settings, progress or silent):
        videos.append(generated)
        if on_video:
            on_video(generated)
    return videos


def rollout(
    frames: np.ndarray,
    actions: np.ndarray,
    *,
    adapter: str | Path | None = None,
    base: str | World = "pocket",
    states: np.ndarray | None = None,
    prompt: str | None = None,
    seed: int = 0,
    steps: int = 12,
    action_guidance: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return the frames that follow given frames under given actions: uint8, one for each row of `actions`.

    `frames` are uint8 (H, W, 3) or (T, H, W, 3); the last one is continued. Row t of `actions` is the command after
    frame t. `states` is the state at the last given frame, or a row for it and each later frame. Longer sequences
    continue chunk by chunk; the state at the start of a later chunk is predicted from the deltas unless it is given.
    `prompt` should be that of the training clips; None means no text. For many calls, open a
    `worldtune.generation.rollout.Rollout` once.

    Raises:
        RecipeError: Neither the adapter nor the base reads actions.
        DataError: Frames, actions or states do not fit the model, or are unlike those that it was trained on.
        AdapterError: The adapter was made for another base.

    Example:
        >>> recipe = wt.load_recipe("pocket-new-view-actions", ["train.steps=2", "train.warmup=1", "replay=null",
        ...                                                     "mix={}", "validate.clips=1", "validate.sigmas=1"])
        >>> run = wt.train(recipe, out="runs/acting")
        >>> clip = wt.open_dataset("builtin:pocket-play-held-out").train[0]
        >>> from worldtune.data.clip import read_clip
        >>> start, state = read_clip(clip)[0], clip.states[0]
        >>> frames = wt.rollout(start, clip.actions[:20], adapter=run.adapter, states=state, steps=2)
        >>> frames.shape, frames.dtype
        ((20, 64, 64, 3), dtype('uint8'))
    """
    from worldtune.generation.rollout import Rollout
    from worldtune.models.load import open_world_on
    from worldtune.registry.named_adapter import locate_adapter

    world = open_world_on(device, base) if isinstance(base, str) else base
    used = None if adapter is None else locate_adapter(adapter)
    path, digest = (used.path, used.card) if used else (None, None)
    model = Rollout(world, path, prompt=prompt, steps=steps, action_guidance=action_guidance, digest=digest)
    try:
        return model(frames, actions, states, seed=seed, progress=progress or silent)
    finally:
        model.close()


def evaluate(
    runs: Sequence[TrainingRun | str | Path],
    *,
    out: str | Path | None = None,
    candidates: Mapping[str, str | Path] | Sequence[str] | None = None,
    incumbent: str | None = None,
    gates: str | Path | None = None,
    clips: int | None = None,
    seeds: int = 1,
    steps: int = 12,
    guidance: int | None = None,
    seed: int = 0,
    gripper_columns: str | None = None,
    other_task: bool = False,
    judge: str | None = None,
    judge_endpoint: str | None = None,
    judge_repeats: int = 1,
    weights: Mapping[str, str | Path] | Sequence[str] | None = None,
    rerun: bool = False,
    ray_workers: int | None = None,
    base: World | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Compare the base, adapters and other candidates on held-out clips: `.outcome`, `.report` and `.scores`.

    `runs` are trained runs of one base; the verdict is about the first. `candidates` maps names to other candidates: an
    adapter or release, a base model, or a folder of mp4 files. `incumbent` names the candidate in use now. Every
    candidate starts from the same first frame, prompt and noise: `seeds` videos for each of the `clips` (None: all),
    `steps` denoiser evaluations each, with the base's default guidance if `guidance` is None. `gates` is a gates file,
    "default", or "dreams" (to ask before a policy is trained on generated videos); without it `.outcome` covers three
    basic checks, not quality.
    `gripper_columns` names the state columns that hold the gripper's x, y, z. `judge` is a vision-language model: its
    name at `judge_endpoint`, or its folder. `weights` maps learned metrics (lpips, dino, clip, videomae) to folders.
    The HTML report is in `out` (default: RUN/report). Videos and scores are cached: a second call resumes.

    Raises:
        UserError: A run has no adapter yet, or a candidate was trained on a held-out clip or does not fit the base.
        RecipeError: A gates file is malformed, or refers to a metric or candidate that is not compared.
        DataError: No clips are held out.

    Example:
        >>> result = wt.evaluate(["runs/first"], clips=1, steps=2)
        >>> result.outcome, result.report
        ('not enough evidence', PosixPath('runs/first/report/index.html'))
        >>> 10 < result.scores["first"]["psnr_db"].mean < 40
        True
    """
    from dataclasses import replace

    from worldtune.evaluation.cases.runs import load_run_recipe
    from worldtune.evaluation.evaluate import evaluate as evaluate_request
    from worldtune.evaluation.settings import EvaluationSettings, JudgeSettings, request_of, texts_of
    from worldtune.models.load import open_world_on
    from worldtune.registry.candidates import candidates_of

    folders = tuple(Path(run) if isinstance(run, str | Path) else run.folder for run in runs)
    recipe = load_run_recipe(folders[0])
    settings = EvaluationSettings(
        runs=folders,
        out=folders[0] / "report" if out is None else Path(out),
        candidates=texts_of(candidates),
        incumbent=incumbent,
        gates=None if gates is None else Path(gates),
        clips=clips,
        seeds=seeds,
        steps=steps,
        guidance=guidance,
        seed=seed,
        gripper_columns=gripper_columns,
        other_task=other_task,
        judge=JudgeSettings(judge, judge_endpoint, judge_repeats),
        weights=texts_of(weights),
        rerun=rerun,
        ray_workers=ray_workers,
        device=device,
    )
    request = request_of(settings, *candidates_of(settings.candidates))
    world = open_world_on(device, recipe.base) if base is None else base
    if guidance is None:
        request = replace(request, plan=replace(request.plan, guidance=world.card.guidance))
    return evaluate_request(world, request, settings.out, progress or silent)


def convert_adapter(
    adapter: str | Path | Used,
    to: str,
    out: str | Path | None,
    *,
    alpha: AlphaValue = None,
    base: str | None = None,
) -> ConvertedAdapter:
    """Write an adapter in another tool's format: diffusers, peft, nvidia, comfyui or kohya.

    Every tensor of the source is used, or listed in `.remarks` with the reason why it is not. `out` is a new folder
    (diffusers, peft) or .safetensors file (the others). With None nothing is written; the result lists the tensors.
    With `base` the adapter is tried on that base, and `out` is an adapter folder with a card, which `generate` loads.

    Raises:
        AdapterError: The adapter cannot be read, contains fully trained weights, or does not fit the base.
        UserError: The format is unknown.

    Example:
        >>> done = wt.convert_adapter("runs/first", "comfyui", "first.safetensors")
        >>> done.out, len(done.tensors)
        (PosixPath('first.safetensors'), 180)
    """
    from worldtune.adapters.alphas import alphas_of
    from worldtune.generation.adapter_exchange import convert_adapter as convert
    from worldtune.registry.named_adapter import locate_adapter

    return convert(locate_adapter(adapter), to, None if out is None else Path(out), alphas_of(alpha), base)


def merge_adapter(base: str, adapters: Adapters, out: str | Path, *, alpha: AlphaValue = None) -> MergedAdapter:
    """Write a copy of a base's denoiser with one or several adapters merged in; each weight is rounded once.

    `base` is a base's name, a diffusers folder, or NVIDIA's file of the denoiser; `out` has the same format.
    `adapters` are as in `generate`. A strength interpolates linearly between the base (0) and the adapter (1), also for
    DoRA. Fully trained weights beside an adapter replace the base's weights.

    Raises:
        AdapterError: An adapter was made for another base, or fits no weight of this one.

    Example:
        >>> wt.merge_adapter("pocket", {"runs/first": 0.5}, "merged").weights
        60
    """
    from worldtune.adapters.alphas import alphas_of
    from worldtune.generation.adapter_exchange import merge_adapters
    from worldtune.registry.named_adapter import located

    return merge_adapters(base, located(adapters), Path(out), alphas_of(alpha))


def blend_adapters(
    adapters: Adapters,
    out: str | Path,
    *,
    to: str = "diffusers",
    rank: int | None = None,
    alpha: AlphaValue = None,
) -> BlendedAdapter:
    """Write the weighted sum of several adapters as one LoRA, and return its rank and the energy that it keeps.

    Without `rank` the sum is exact, and the ranks add up. With `rank` the sum is reduced to that rank.

    Raises:
        AdapterError: An adapter is a DoRA, whose magnitudes cannot be added, or the adapters have different bases.

    Example:
        >>> both = wt.blend_adapters([("runs/first", 0.7), ("runs/first", 0.3)], "both", rank=32)
        >>> both.rank, round(both.kept_energy, 3)
        (32, 1.0)
    """
    from worldtune.adapters.alphas import alphas_of
    from worldtune.generation.adapter_exchange import blend_adapters as blend
    from worldtune.registry.named_adapter import located

    return blend(located(adapters), Path(out), alphas_of(alpha), to, rank)


def train_idm(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    base: World | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> IdmRun:
    """Train inverse dynamics, which reads actions and states from videos, on a recipe's dataset.

    The recipe is that of the adapter; its `idm` section has the settings, and `data.action_space` declares whether
    `action` holds deltas or targets. Held-out clips stay held out: `.card.held_out` has the figures on them, as
    recorded and after the base's codec. `out` is the run folder (default: runs/RECIPE_NAME-idm); with `resume`, the
    networks of the ensemble that are complete are kept. `base` is a base that is already open.

    Raises:
        RecipeError: The recipe declares no action space.
        DataError: The dataset cannot be read, has no actions, or the actions do not fit the action space.
        UserError: The folder contains another run.

    Example:
        >>> recipe = wt.load_recipe("pocket-new-view", ["data.action_space={kind: delta, commands_per_frame: 5}",
        ...                                             "idm.steps=2", "idm.members=2"])
        >>> run = wt.train_idm(recipe, out="runs/idm")
        >>> run.card.action_size, run.card.state_names
        (20, ('hand.x', 'hand.y', 'hand.z', 'gripper'))
        >>> sorted(run.card.held_out)
        ['codec', 'video']
    """
    from worldtune.dreams.idm.session import train_idm as train
    from worldtune.training.recipe import Recipe, find_recipe

    loaded = recipe if isinstance(recipe, Recipe) else find_recipe(recipe, [])
    folder = Path("runs") / f"{loaded.name}-idm" if out is None else Path(out)
    return train(loaded, folder, resume=resume, device=device, base=base, progress=progress or silent)


def label(
    videos: Sequence[VideoToLabel],
    idm: InverseDynamics | IdmRun | str | Path,
    *,
    starts: Sequence[Any] | None = None,
) -> list[Labels]:
    """Return the actions, states and uncertainty that an inverse dynamics model reads from each video.

    A video is an mp4 file or uint8 frames_THWC. `idm` is a run of `train_idm`, its folder, or an open model. `starts`
    are the states in the first frames, if they are known (None in it: unknown). The result of a video of T frames has
    `.commands_ID`, the mean command of each of the T − 1 frame intervals; `.states_TS`, or None if the model was
    trained without states; and `.spread_I`, the disagreement of the ensemble.

    Raises:
        DataError: A file cannot be read, or a video has another rate or size than the model.

    Example:
        >>> (labels,) = wt.label(["videos/video.mp4"], "runs/idm")
        >>> labels.commands_ID.shape, labels.states_TS.shape, labels.spread_I.shape
        ((20, 4), (21, 4), (20,))
    """
    from worldtune.dreams.idm.model import InverseDynamics, load_idm
    from worldtune.dreams.idm.session import IdmRun
    from worldtune.dreams.idm.video import label_videos

    if isinstance(idm, IdmRun):
        idm = idm.idm
    model = idm if isinstance(idm, InverseDynamics) else load_idm(Path(idm))
    return label_videos(model, videos, starts)


def evaluate_idm(
    idm: IdmRun | str | Path,
    data: str | None = None,
    *,
    dreams: str | Path | None = None,
    base: World | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Return how well an inverse dynamics model reads clips whose actions are known, by kind of video.

    "video" are the recorded clips, "codec" the same after the base's codec. The clips are the held-out clips of the
    model's run, or all clips of the dataset `data`. "dreams" are the dreams in the folder `dreams`, compared with the
    recorded episodes that they begin from. Each kind has the explained variance of the positions' displacement
    in a frame interval, the slope and error of the end points, and the rank correlation of disagreement and error.

    Raises:
        DataError: The model cannot be read, the clips do not fit it, or there are none.

    Example:
        >>> figures = wt.evaluate_idm("runs/idm")
        >>> figures["video"]["clips"], figures["codec"]["displacement_r2"] < 1
        (24, True)
    """
    from worldtune.dreams.against_truth import measure_dreams
    from worldtune.dreams.idm.evaluate import evaluate_idm as evaluate
    from worldtune.dreams.idm.model import load_idm
    from worldtune.dreams.idm.session import IdmRun

    folder = idm.folder if isinstance(idm, IdmRun) else Path(idm)
    figures = evaluate(folder, data, device, base)
    if dreams is not None:
        figures["dreams"] = measure_dreams(load_idm(folder), open_dreams(dreams))
    return figures


def train_policy(
    dataset: str | Path,
    out: str | Path,
    *,
    action_space: ActionSpace | Mapping[str, Any],
    synthetic: Sequence[str | Path] = (),
    task: str | None = None,
    camera: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> SavedPolicy:
    """Train a small image policy by behavior cloning, and return it with its card and folder.

    `dataset` is a LeRobot dataset of real demonstrations, `synthetic` are datasets of dreams as `worldtune` exports
    them: half of each batch. `action_space` says what the numbers of `action` mean: its `kind` is "delta" or
    "absolute", and `commands_per_frame` counts the commands in a row. A policy learns one `task` (its text) in one
    `camera`. `settings` are keys of `PolicySpec`, such as steps, seed or output. Idle frames after the last large
    motion are cut from all episodes. The same data, settings and thread count give the same weights.

    Raises:
        DataError: A dataset cannot be used, lacks states or actions, has several tasks or cameras, or is synthetic
            where it must be real, or the reverse.
        RecipeError: A setting is unknown or wrong.

    Example:
        >>> saved = wt.train_policy("builtin:pocket-new-view", "runs/policy", steps=20,
        ...                         action_space={"kind": "delta", "commands_per_frame": 5},
        ...                         task="Seen from above: the robot arm opens the drawer.")
        >>> len(saved.card.episodes), saved.card.spec.output
        (6, 'displacement')
    """
    from worldtune.core.actions.space import ActionSpace
    from worldtune.core.settings import parse_model
    from worldtune.policy.session import train_on_datasets
    from worldtune.policy.spec import PolicySpec

    spec = parse_model(PolicySpec, settings, "train_policy")
    space = (
        action_space
        if isinstance(action_space, ActionSpace)
        else parse_model(ActionSpace, dict(action_space), "action_space")
    )
    paths = [str(path) for path in synthetic]
    return train_on_datasets(str(dataset), paths, Path(out), spec, space, task, camera, progress or silent)


def evaluate_policy(
    policies: Sequence[SavedPolicy | str | Path],
    *,
    task: str,
    view: str,
    resets: int = 40,
    intervals: int = 26,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> PolicyEvaluation:
    """Return the success of policies in a Meta-World scene, from the same layouts (extra `sim`).

    A policy is what `train_policy` returned, its folder, or an address (ws://HOST:PORT) of a server that speaks
    openpi's websocket protocol (extra `policy`). `task` is a scene, such as "button-press", `view` a fixed camera, such
    as "top". An episode fails after `intervals` frame intervals. The seeds of the `resets` layouts are the same for all
    calls, and no demonstration or dream uses them. `out` is a JSON file for the results. `.interval(NAME)` is Wilson's
    95 % interval, `.difference(NAME, OTHER)` a paired difference; both describe these policies only.

    Raises:
        UserError: The simulator is missing, task or view are unknown, or a policy cannot be opened or used.

    Example:
        >>> found = wt.evaluate_policy(["runs/policy"], task="drawer-open", view="top", resets=2, intervals=2)
        >>> found.successes("runs/policy"), found.seeds
        (0, [30000000, 30000001])
    """
    from worldtune.policy.simulation.in_simulator import evaluate_in_simulator

    found = evaluate_in_simulator(policies, task, view, resets, intervals, progress or silent)
    if out is not None:
        found.save(Path(out))
    return found


def dream(
    request: DreamRequest | str | Path | None = None,
    *,
    out: str | Path,
    base: World | None = None,
    ray_workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    on_budget: OnBudget | None = None,
    **settings: Any,
) -> DreamSet:
    """Make videos with actions from first frames × instructions × seeds × adapters: `.kept`, `.ledger`, `.export()`.

    `request` is a DreamRequest or its YAML file; `settings` are keys of it, and take precedence: `images` or `data`
    (first frames), `instructions`, `adapters`, `seeds`, `idm` and others. Each video is labeled by the inverse dynamics
    model `idm`, measured by critics that are calibrated on real clips, and gets a row in the ledger. `out` may contain
    dreams of the same request: the missing ones are made. `base` is a base that is already open. `on_budget` is called
    before the first dream, and again with seconds and bytes after the first dreams.

    Raises:
        RecipeError: The request is malformed, or does not fit the models or the data.
        DataError: There are no first frames, the inverse dynamics model is for other videos or another robot, or all
            dreams are rejected; the ledger then has the reasons.
        AdapterError: An adapter was made for another base.
        UserError: `out` contains dreams of another request, or the disk is too small.

    Example:
        >>> data = {"path": "builtin:pocket-new-view", "held_out": 0.5}
        >>> dreams = wt.dream(out="dreams/first", data=data, idm="runs/idm", adapters=["runs/first"], steps=2,
        ...                   max_dreams=2, critics=[])
        >>> len(dreams.kept), dreams.ledger[0].prompt
        (2, 'Seen from above: the robot arm reaches the red ball.')
    """
    from worldtune.dreams.dream import dream as make_dreams
    from worldtune.dreams.idm.model import load_idm
    from worldtune.dreams.request import read_request
    from worldtune.models.load import open_world_on
    from worldtune.registry.named_adapter import locate_adapter

    if base is not None:
        settings.setdefault("base", base.card.source)
    wanted = read_request(request, settings)
    labeler = load_idm(Path(wanted.idm))
    adapters = {name: locate_adapter(name) for name in wanted.adapters}
    dreams = make_dreams(
        wanted,
        Path(out),
        world=base or open_world_on(device, wanted.base),
        adapters=adapters,
        labeler=labeler,
        ray_workers=ray_workers,
        progress=progress or silent,
        on_budget=on_budget or (lambda budget: None),
    )
    dreams.check_some_kept()
    return dreams


def open_dreams(folder: str | Path) -> DreamSet:
    """Return the dreams that `dream` made in `folder`: `.ledger`, `.kept`, `.calibration`, `.export()`, `.withdraw()`.

    Raises:
        DataError: The folder does not contain dreams, or its ledger is damaged.

    Example:
        >>> dreams = wt.open_dreams("dreams/first")
        >>> [row.adapter_name for row in dreams.ledger]
        ['runs/first', 'runs/first']
    """
    from worldtune.dreams.dream_set import open_set

    return open_set(Path(folder))


def dream_study(
    out: str | Path = "runs/dream-study",
    *,
    target: Literal["camera", "known", "task"] = "camera",
    settings: Sequence[str] = (),
    smoke: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DreamStudy:
    """Measure in a simulator whether dreams help a policy: `.results`, `.verdict` and `.report`.

    Policies are trained on a few real demonstrations, alone and with dreams of the base, of LoRA and of DoRA, with
    dreams that the critics keep, with shuffled labels (a control), and with the true clips of the same first frames (an
    upper bound). `target` is a new `camera`, a `known` camera or a new `task`. Each of `settings` is key=value of
    `StudySettings`, such as "draws=1". `smoke` tries every stage in minutes and proves nothing. `workers` are processes
    (default: one per core). `out` may hold the same study: what is missing is run. Needs the extra `sim`.

    Raises:
        UserError: The folder holds another study, a task or view is unknown, or the simulator is missing.

    Example:
        >>> tiny = ["draws=1", "dreams=2", "resets=2", "demonstrations=4", "tasks=[plate-slide]",
        ...         "adapter_tasks=[plate-slide, button-press]", "arms=[real, oracle]", "policy.steps=2"]
        >>> study = wt.dream_study("runs/study", smoke=True, settings=tiny)
        >>> study.verdict
        'plate-slide: no dreams were tested.'
    """
    from worldtune.dreams.study.settings import study_settings
    from worldtune.dreams.study.study import run_study

    wanted = study_settings(target, settings, smoke=smoke)
    return run_study(wanted, Path(out), workers, progress or silent)


def join_dream_studies(studies: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of finished studies again, as one page in `out` (default: the first study's folder).

    Raises:
        UserError: A folder has no results.

    Example:
        >>> wt.join_dream_studies(["runs/study"])
        PosixPath('runs/study/report/index.html')
    """
    from worldtune.dreams.study.report.write import write_report

    folders = [Path(study) for study in studies]
    return write_report(folders, folders[0] / "report" if out is None else Path(out))
