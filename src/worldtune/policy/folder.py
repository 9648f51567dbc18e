"""A policy's folder: `policy.safetensors` (weights and statistics) and `policy.json` (its card)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import atomic_folder, digest_file, write_json
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import read_json_object
from worldtune.core.tensors.read import read_safetensors
from worldtune.errors import DataError
from worldtune.policy.card import PolicyCard, code_origin, episode_records
from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.training.network import PolicyNetwork
from worldtune.policy.training.trained import Normalization, TrainedPolicy

CARD, WEIGHTS = "policy.json", "policy.safetensors"
NORMALIZATION = "normalization."
LAST_STEPS = 50  # their mean loss is the card's
HINT = "Train the policy again."


@dataclass(frozen=True)
class SavedPolicy:
    """A policy with its folder and card."""

    folder: Path
    card: PolicyCard
    policy: TrainedPolicy


def save_policy(
    folder: Path,
    policy: TrainedPolicy,
    episodes: Sequence[TrainingEpisode],
    losses: Sequence[float],
    action_space: ActionSpace,
    fps: float,
) -> SavedPolicy:
    """Write the policy's folder, which replaces an older policy there, and return it.

    Raise DataError if the folder exists and holds something else.
    """
    check_replaceable(folder)
    first = episodes[0]
    last = losses[-LAST_STEPS:]
    with atomic_folder(folder) as partial:
        save_file(_tensors(policy), partial / WEIGHTS)
        card = PolicyCard(
            spec=policy.spec,
            prompt=first.prompt,
            action_space=action_space,
            fps=fps,
            height=first.frames_THWC.shape[1],
            width=first.frames_THWC.shape[2],
            state_size=first.states_TS.shape[1],
            output_size=policy.network.output_size,
            episodes=episode_records(episodes),
            loss=sum(last) / len(last),
            weights_digest=digest_file(partial / WEIGHTS),
            **code_origin(),
        )
        write_json(partial / CARD, card.model_dump(mode="json"))
    return SavedPolicy(folder, card, policy)


def check_replaceable(folder: Path) -> None:
    """Raise DataError if the folder exists and is not a policy's."""
    if folder.exists() and not (folder / CARD).is_file():
        raise DataError("the folder exists and is not a policy", where=str(folder), hint="Name a new folder.")


def load_policy(folder: Path) -> SavedPolicy:
    """Return the policy of a folder. Raise UserError if it is missing, damaged or does not belong to its card."""
    card = read_policy_card(folder)
    if digest_file(folder / WEIGHTS) != card.weights_digest:
        raise DataError("the weights are not those of the card", where=str(folder / WEIGHTS), hint=HINT)
    tensors = read_safetensors(folder / WEIGHTS)
    network = PolicyNetwork(len(card.spec.position_columns), card.spec.chunk, card.output_size)
    names = {name: tensor for name, tensor in tensors.items() if name.startswith(NORMALIZATION)}
    weights = {name: tensor for name, tensor in tensors.items() if name not in names}
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    fields = {NORMALIZATION + name for name in Normalization.__dataclass_fields__}
    if {name: tensor.shape for name, tensor in weights.items()} != shapes or set(names) != fields:
        raise DataError("the tensors are not those of this policy network", where=str(folder / WEIGHTS), hint=HINT)
    network.load_state_dict(weights)
    norm = Normalization(**{name.removeprefix(NORMALIZATION): tensor for name, tensor in names.items()})
    return SavedPolicy(folder, card, TrainedPolicy(network, norm, card.spec))


def read_policy_card(folder: Path) -> PolicyCard:
    """Return the card of a policy's folder. Raise UserError if it is missing or not valid."""
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise DataError(f"not a policy: there is no {name}", where=str(folder), hint="Name a policy's folder.")
    return parse_model(PolicyCard, read_json_object(folder / CARD, hint=HINT), str(folder / CARD))


def _tensors(policy: TrainedPolicy) -> dict[str, Tensor]:
    norm = {NORMALIZATION + name: tensor.contiguous() for name, tensor in vars(policy.normalization).items()}
    return {name: tensor.contiguous() for name, tensor in policy.network.state_dict().items()} | norm
