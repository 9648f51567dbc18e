"""Make dreams: first frames, the plan, sampling, labeling, on one machine or a Ray cluster."""
