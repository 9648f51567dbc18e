from support.progress import Recorded
from worldtune.core.progress import part_of, split_note, stage


def test_part_adds_to_the_finished_count() -> None:
    progress = Recorded()
    part = part_of(progress, 3, 9)
    part(0, 2)
    part(2, 2, "the end")
    assert progress.calls == [(3, 9, ""), (5, 9, "the end")]


def test_stage_begins_each_note_with_its_name() -> None:
    progress = Recorded()
    advance = stage(progress, "train mine")
    advance(1, 3)
    advance(2, 3, "loss 0.4: low")
    assert progress.calls == [(0, 0, "train mine"), (1, 3, "train mine"), (2, 3, "train mine: loss 0.4: low")]
    assert [split_note(note) for _, _, note in progress.calls] == [
        ("train mine", ""), ("train mine", ""), ("train mine", "loss 0.4: low"),
    ]  # fmt: skip
