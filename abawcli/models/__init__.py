"""Networks, their weights, and what surrounds them: losses, augmentation, checkpoints."""
