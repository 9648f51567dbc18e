import pytest

from worldtune import errors
from worldtune.errors import UserError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UserError)]


@pytest.mark.parametrize("kind", KINDS)
def test_message_contains_what_where_and_hint(kind: type[UserError]) -> None:
    error = kind("the clip is empty", where="videos/3.mp4", hint="Record it again.")
    assert str(error) == "the clip is empty [videos/3.mp4]. Record it again."
    assert (error.what, error.where, error.hint) == ("the clip is empty", "videos/3.mp4", "Record it again.")


@pytest.mark.parametrize("kind", KINDS)
def test_where_and_hint_are_required(kind: type[UserError]) -> None:
    with pytest.raises(TypeError):
        kind("the clip is empty")  # type: ignore[call-arg]
