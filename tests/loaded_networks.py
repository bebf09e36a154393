"""The networks of recipes, loaded once in each process of tests."""

from copy import copy
from functools import cache

from abawcli.stages.predict import Predictor


def load_predictor(
    recipe: str = "compact", modality: str = "av", *, label_all: bool = False
) -> Predictor:
    """Return a predictor with settings and a detector of its own, and networks that are shared."""
    predictor = copy(_load(recipe, modality))
    predictor.extractor = copy(predictor.extractor)
    predictor.label_all = label_all
    return predictor


@cache
def _load(recipe: str, modality: str) -> Predictor:
    return Predictor(recipe, device="cpu", modality=modality)
