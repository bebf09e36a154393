"""Training: losses, augmentation, and one training loop with three tasks."""
