"""What several rooms' tests share: a tiny world, data to train on, and diffusers' own pipeline to compare with."""
