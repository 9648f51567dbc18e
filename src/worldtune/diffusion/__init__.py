"""The maths: rectified flow, noise levels, conditioning and the objective. Imports nothing of ours."""
