"""LoRA and DoRA: injection through peft, the adapter folder and its card, formats of other tools."""
