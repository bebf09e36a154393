import pytest

from abawcli.errors import InputError
from abawcli.labels import CLASSES, N_CLASSES, PROBABILITY_COLUMNS, SYNONYMS, index_of, known_names


def test_the_order_is_the_challenges() -> None:
    assert ",".join(CLASSES) == "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    assert N_CLASSES == 8
    assert PROBABILITY_COLUMNS[0] == "p_neutral"
    assert PROBABILITY_COLUMNS[7] == "p_other"


@pytest.mark.parametrize(
    ("name", "index"),
    [("Neutral", 0), ("ANGER", 1), (" fear ", 3), ("happy", 4), ("Contempt", 7), ("other", 7)],
)
def test_names_in_any_case_and_synonyms(name: str, index: int) -> None:
    assert index_of(name) == index


def test_every_synonym_means_a_class() -> None:
    assert {CLASSES[index_of(alias)] for alias in SYNONYMS} <= set(CLASSES)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown expression 'bored'; known are Neutral, .*happy"):
        index_of("bored")


def test_known_names_keep_their_order() -> None:
    assert known_names(["unknown", "Sad", "NF", "anger"]) == ["Sad", "anger"]
