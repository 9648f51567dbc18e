"""Find captions that are longer than a base reads, and report all of them at once by episode."""

from collections.abc import Iterable

from worldtune.data.clip import Clip
from worldtune.errors import RecipeError
from worldtune.models.text.prompt_encoder import PromptEncoder

HINT = "Shorten these captions: their ends would be cut off."


def find_long_captions(encoder: PromptEncoder, clips: Iterable[Clip]) -> dict[str, int]:
    """Return, for each episode with captions longer than `encoder` reads, the tokens of its longest caption."""
    counts: dict[str, int] = {}
    longest: dict[str, int] = {}
    for clip in clips:
        if clip.caption not in counts:
            counts[clip.caption] = encoder.count(clip.caption)
        if counts[clip.caption] > encoder.length:
            longest[clip.episode] = max(counts[clip.caption], longest.get(clip.episode, 0))
    return longest


def describe_long_captions(found: dict[str, int], length: int) -> str:
    """Return one line that names every episode: "2 captions are too long: c2, c4: 501 tokens, the base reads 64"."""
    by_count: dict[int, list[str]] = {}
    for episode, count in found.items():
        by_count.setdefault(count, []).append(episode)
    parts = [f"{', '.join(names)}: {count} tokens" for count, names in by_count.items()]
    verb = "captions are" if len(found) > 1 else "caption is"
    return f"{len(found)} {verb} too long: {'; '.join(parts)}; the base reads {length} tokens"


def check_caption_lengths(encoder: PromptEncoder, clips: Iterable[Clip]) -> None:
    """Raise RecipeError that names every caption longer than `encoder` reads."""
    clips = list(clips)
    if found := find_long_captions(encoder, clips):
        sources = dict.fromkeys(clip.source for clip in clips if clip.episode in found)
        raise RecipeError(describe_long_captions(found, encoder.length), where=", ".join(sources), hint=HINT)
