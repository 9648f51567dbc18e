"""Meta-World scenes and scripted experts (extra `sim`). Set MUJOCO_GL before importing."""
