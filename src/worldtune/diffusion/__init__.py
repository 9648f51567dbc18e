"""The math: rectified flow, noise levels, conditioning and the objective. Imports no other package of worldtune."""
