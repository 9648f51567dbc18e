"""The format of a scene's clips, known without opening the simulator: 16 frames per second, 21 frames, a caption.

Time base: Meta-World's control runs at 80 Hz. Every 5th state is filmed, so 21 frames span 100 control steps, and the
five commands `actions[i]` follow frame i.
"""

from worldtune.sim.tasks import Task
from worldtune.sim.views import View

FPS = 16
FRAMES = 21
STEPS_PER_FRAME = 5


def scene_prompt(task: Task, view: View) -> str:
    """Return the caption of a clip of the task, seen from the view."""
    return f"{view.phrase}: the robot arm {task.phrase}."
