"""A script for a Python with lerobot: train ACT from scratch for 20 steps on a mixture, and print the result as JSON.

It runs with worldtune's `src` on the path, but without worldtune's dependencies: only the sampler is imported.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from torch.utils.data import DataLoader

from worldtune.dreams.mixing.sampler import MixedRows, MixtureSampler

STEPS, BATCH, CHUNK = 20, 8, 4


def main(path: str) -> None:
    torch.manual_seed(0)
    mixture = json.loads(Path(path).read_text())
    chunk = {"action": [step / mixture["fps"] for step in range(CHUNK)]}
    real, dreams = (
        LeRobotDataset(f"local/{name}", root=mixture[name]["path"], video_backend="pyav", delta_timestamps=chunk)
        for name in ("real", "synthetic")
    )
    rows = MixedRows(real, dreams)
    sampler = MixtureSampler(rows.real_rows, rows.synthetic_rows, mixture["share"], epoch_rows=STEPS * BATCH)
    statistics = {camera: real.meta.stats[camera] for camera in real.meta.camera_keys} | mixture["statistics"]
    policy, preprocess = new_policy(real.meta, as_tensors(statistics))
    policy.train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    losses, synthetic = [], []
    for batch in DataLoader(rows, batch_size=BATCH, sampler=sampler):
        synthetic.append(int(batch["is_synthetic"].sum()))
        loss, _ = policy.forward(preprocess(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    flags = [bool(row["is_synthetic"]) for row in (dreams[0], rows[0], rows[len(rows) - 1])]
    episode = dreams.meta.episodes[1]
    lineage = {name.removeprefix("lineage/"): text for name, text in episode.items() if name.startswith("lineage/")}
    declared = dreams.meta.features["action"]["info"]
    print(json.dumps({"losses": losses, "synthetic": synthetic, "is_synthetic": flags, "lineage": lineage,
                      "outcome": episode["outcome"], "declared": declared, "left_out": rows.left_out}))  # fmt: skip


def new_policy(meta: Any, statistics: Any) -> Any:
    """Return a small ACT without a pretrained backbone, and its preprocessor, for either version of lerobot."""
    small = {"dim_model": 32, "n_heads": 2, "dim_feedforward": 64, "n_encoder_layers": 1, "n_vae_encoder_layers": 1}
    config = ACTConfig(
        chunk_size=CHUNK, n_action_steps=CHUNK, pretrained_backbone_weights=None, kl_weight=1.0, device="cpu",
        push_to_hub=False, **small,
    )  # fmt: skip
    try:
        from lerobot.policies.factory import make_pre_post_processors
    except ImportError:  # 0.3: the policy normalizes
        from lerobot.datasets.utils import dataset_to_policy_features
    else:
        from lerobot.utils.feature_utils import dataset_to_policy_features
    features = dataset_to_policy_features(meta.features)
    config.output_features = {name: feature for name, feature in features.items() if name == "action"}
    config.input_features = {name: feature for name, feature in features.items() if name != "action"}
    if hasattr(ACTPolicy(config, dataset_stats=statistics), "normalize_inputs"):
        return ACTPolicy(config, dataset_stats=statistics), lambda batch: batch
    return ACTPolicy(config), make_pre_post_processors(config, dataset_stats=statistics)[0]


def as_tensors(statistics: Any) -> Any:
    return {
        name: {key: torch.as_tensor(value, dtype=torch.float32) for key, value in values.items()}
        for name, values in statistics.items()
    }


main(sys.argv[1])
