"""The Meta-World tasks of worldtune's scenes, and their phrases in prompts.

Environments and scripted experts: Meta-World 3.1 (https://github.com/Farama-Foundation/Metaworld, MIT).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One Meta-World task; `name` is its environment id without the version suffix."""

    name: str
    phrase: str

    @property
    def environment(self) -> str:
        return f"{self.name}-v3"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("reach", "reaches the red ball"),
        Task("button-press", "presses the button on the wall box"),
        Task("button-press-topdown", "presses the button from above"),
        Task("coffee-button", "presses the button of the coffee machine"),
        Task("door-open", "opens the door of the safe"),
        Task("drawer-open", "opens the drawer"),
        Task("window-open", "opens the window"),
        Task("window-close", "closes the window"),
        Task("plate-slide", "slides the plate into the goal"),
        Task("hammer", "drives the nail with the hammer"),
        Task("handle-press", "presses the handle down"),
        Task("stick-push", "pushes the thermos with the stick"),
        Task("faucet-open", "opens the faucet"),
        Task("drawer-close", "closes the drawer"),
        Task("lever-pull", "pulls the lever up"),
        Task("door-close", "closes the door of the safe"),
        Task("faucet-close", "closes the faucet"),
        Task("soccer", "kicks the ball into the goal"),
        Task("coffee-pull", "pulls the mug away from the coffee machine"),
        Task("handle-press-side", "presses the side handle down"),
        Task("plate-slide-side", "slides the plate to the side"),
        Task("dial-turn", "turns the dial"),
        Task("assembly", "puts the ring on the peg"),
    )
}
