"""Training: losses, augmentation, and one loop for face encoders, voice encoders and heads."""
