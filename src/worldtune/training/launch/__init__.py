"""Run a training on a cluster: SLURM, SkyPilot or Kubernetes."""
