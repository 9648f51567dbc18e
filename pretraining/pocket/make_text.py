"""Make the pocket world's tokenizer and text encoder: `python make_text.py OUT`.

The tokenizer is a byte-level BPE trained on a few hundred robot prompts. The encoder is a random, frozen Qwen2.5-VL of
two layers, which gives each prompt a distinct embedding, with the layout and the code path of Cosmos-Reason1.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS

VOCABULARY = 690
TEXT_TOKENS = 64  # length of padded prompts; stored as the tokenizer's model_max_length
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
)
VERBS = ("picks up", "places", "pushes", "pulls", "opens", "closes", "lifts", "turns", "pours", "folds", "welds")
THINGS = ("the cup", "a block", "the pear", "the plate", "a box", "the cloth", "a bottle", "the lid", "the part")
PLACES = ("on the table", "from the counter", "in the kitchen", "with the left hand", "with the gripper", "slowly")


def corpus() -> list[str]:
    prompts = [f"{view.phrase}: the robot arm {task.phrase}." for view in VIEWS.values() for task in TASKS.values()]
    others = [f"The robot {' '.join(words)}." for words in itertools.product(VERBS, THINGS, PLACES)]
    system = "You are a helpful assistant who will provide prompts to an image generator."
    return prompts * 4 + others + [f"system\n{system}\n", "user\n"] * 50


def make_tokenizer() -> Qwen2Tokenizer:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(corpus(), trainer)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = bpe.model.save(folder)
        tokenizer = Qwen2Tokenizer(
            vocab=vocabulary, merges=merges, unk_token="<|endoftext|>", pad_token="<|endoftext|>",
            eos_token="<|endoftext|>", additional_special_tokens=list(SPECIAL_TOKENS[1:]),
            model_max_length=TEXT_TOKENS,
        )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(0)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
            "initializer_range": 0.3, "pad_token_id": ids["<|endoftext|>"], "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 64,
            "patch_size": 14,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(out / "tokenizer")
    make_encoder(tokenizer).to(torch.bfloat16).save_pretrained(out / "text_encoder")
    print(f"{len(tokenizer)} tokens", tokenizer.tokenize("Seen from above: the robot arm opens the drawer."))


if __name__ == "__main__":
    main()
