"""Annotated features, folds, and the matching of predictions with annotations."""
