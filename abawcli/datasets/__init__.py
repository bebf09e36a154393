"""Annotated features, folds, and the pairing of predictions with annotations."""
