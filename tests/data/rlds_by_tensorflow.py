"""Script for a Python with tensorflow-datasets: write an RLDS dataset, or read one into an .npz file."""

import os
import sys

import numpy as np
import tensorflow_datasets as tfds

DATASET_FEATURES = tfds.features.FeaturesDict(
    {
        "steps": tfds.features.Dataset(
            {
                "observation": {
                    "image": tfds.features.Image(shape=(64, 64, 3), encoding_format="png"),
                    "wrist": tfds.features.Image(shape=(64, 64, 3), encoding_format="jpeg"),
                    "state": tfds.features.Tensor(shape=(7,), dtype=np.float32),
                },
                "action": tfds.features.Tensor(shape=(7,), dtype=np.float32),
                "is_first": np.bool_,
                "language_instruction": tfds.features.Text(),
            }
        )
    }
)


def episode(number: int) -> dict[str, object]:
    random = np.random.default_rng(number)
    steps = [
        {
            "observation": {
                "image": random.integers(0, 256, (64, 64, 3), np.uint8),
                "wrist": np.repeat(np.arange(64, 192, 2, np.uint8)[None, :, None], 64, 0).repeat(3, 2) + np.uint8(t),
                "state": random.normal(size=7).astype(np.float32),
            },
            "action": random.normal(size=7).astype(np.float32),
            "is_first": t == 0,
            "language_instruction": f"move {number} – carefully",
        }
        for t in range(5 + number)
    ]
    return {"steps": steps}


class Cups(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=DATASET_FEATURES)

    def _split_generators(self, manager: object) -> dict[str, object]:
        return {"train": self._generate_examples()}

    def _generate_examples(self):  # type: ignore[no-untyped-def]
        for number in range(6):
            yield str(number), episode(number)


def write(folder: str) -> None:
    parent = os.path.dirname(os.path.dirname(folder))
    Cups(data_dir=parent).download_and_prepare()


def read(folder: str, out: str) -> None:
    found = {}
    for number, each in enumerate(tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split="train"))):
        steps = list(each["steps"])
        found[f"{number}/image"] = np.stack([step["observation"]["image"] for step in steps])
        if "wrist" in steps[0]["observation"]:
            found[f"{number}/wrist"] = np.stack([step["observation"]["wrist"] for step in steps])
        found[f"{number}/state"] = np.stack([step["observation"]["state"] for step in steps])
        found[f"{number}/action"] = np.stack([step["action"] for step in steps])
        found[f"{number}/text"] = np.array(steps[0]["language_instruction"].decode())
    np.savez(out, **found)


if __name__ == "__main__":
    (write if sys.argv[1] == "write" else read)(*sys.argv[2:])
