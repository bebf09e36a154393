import numpy as np
import pytest

from abawcli.sources import SOURCES, drop_sources, has_face, join_sources, name_sources


def test_a_row_rests_on_its_own_face_and_speech_or_on_those_around() -> None:
    seen = np.array([True, True, False, False, False])
    detected = np.array([True, False, True, False, False])
    known = np.array([True, True, True, True, False])
    names = name_sources(seen, detected, known)
    assert names.tolist() == list(SOURCES)
    assert has_face(names).tolist() == seen.tolist()
    assert set(name_sources(seen, detected, ~np.ones(5, bool))) == {"none"}


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["visual", "audio"], "av"),
        (["audio", "filled"], "audio"),
        (["filled", "none"], "filled"),
        (["none", "visual"], "visual"),
        (["av", "none"], "av"),
    ],
)
def test_what_several_tables_rest_on(parts: list[str], joined: str) -> None:
    known = np.array([True])
    for order in (parts, parts[::-1]):
        assert join_sources([np.array([name]) for name in order], known).tolist() == [joined]
    assert join_sources([np.array([name]) for name in parts], ~known).tolist() == ["none"]


def test_a_row_whose_probabilities_are_dropped_has_no_source() -> None:
    source = np.array(["av", "audio", "audio"])
    assert drop_sources(source, np.array([False, True, False])).tolist() == ["av", "none", "audio"]
    assert source.tolist() == ["av", "audio", "audio"]
