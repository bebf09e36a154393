"""Sounds without a voice."""

import numpy as np
import pytest

from abawcli.training.non_speech import NON_SPEECH, make_non_speech


@pytest.mark.parametrize("kind", NON_SPEECH)
@pytest.mark.parametrize("seed", range(3))
def test_recordings_are_whole_and_repeat(kind: str, seed: int) -> None:
    audio, again = (make_non_speech(kind, 20_000, np.random.default_rng(seed)) for _ in range(2))
    assert audio.shape == (20_000,) and audio.dtype == np.float32
    assert np.isfinite(audio).all() and 0 < np.abs(audio).max() < 1.1
    assert np.array_equal(audio, again)


def test_silence_is_quiet_and_music_is_not_one_note() -> None:
    rng = np.random.default_rng(0)
    assert np.abs(make_non_speech("silence", 16_000, rng)).max() < 0.02
    music = make_non_speech("music", 32_000, rng)
    spectra = np.abs(np.fft.rfft(music.reshape(8, -1), axis=1))
    assert len(set(spectra.argmax(axis=1).tolist())) > 1
