"""How networks learn: losses, augmentation, and one training loop with three tasks."""
