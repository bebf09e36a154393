"""Networks, and their loading from files: backbones, encoders, heads, checkpoints, recipes."""
