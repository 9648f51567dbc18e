"""LoRA and DoRA: injection through peft, the adapter folder, its card and its birth proof."""
