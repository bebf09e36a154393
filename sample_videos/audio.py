"""What the people in the sample videos say: eSpeak NG's voice, and how loud it is."""

import subprocess
import tempfile
import wave
from functools import cache
from pathlib import Path

import numpy as np
from clips import Actor, Clip, Speech
from numpy.typing import NDArray

Samples = NDArray[np.float32]
VOICE_RATE_HZ = 22_050  # what espeak-ng writes
HISS = 0.0005  # a microphone is never quite still
LOUD = 1 / 6  # as a share of full scale: opens the mouth as wide as speech does


@cache
def speak(speech: Speech) -> Samples:
    """Return a spoken sentence, -1..1, from its first sound to its last."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "speech.wav")
        settings = ["-v", "en-us", "-s", speech.words_per_minute, "-p", speech.pitch]
        command = ["espeak-ng", *map(str, settings), "-w", path, speech.text]
        subprocess.run(command, check=True)
        with wave.open(path) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    loud = np.flatnonzero(np.abs(samples) > 300)
    return (samples[loud[0] : loud[-1]] / 32768).astype(np.float32)


def mix_voice(clip: Clip, actor: Actor) -> Samples:
    """Return what one person says, from the start of the audio to the last frame."""
    seconds = clip.times_ms[-1] / 1000 - clip.audio_start_s
    voice = np.zeros(round(seconds * VOICE_RATE_HZ), np.float32)
    for speech in actor.speech:
        start = round((speech.start_s - clip.audio_start_s) * VOICE_RATE_HZ)
        voice[start : start + len(speak(speech))] += speak(speech)
    return voice


def mix_audio(clip: Clip) -> Samples:
    """Return the audio track: all voices over a quiet hiss."""
    voices = [mix_voice(clip, actor) for actor in clip.actors]
    hiss = np.random.default_rng(0).normal(0, HISS, len(voices[0])).astype(np.float32)
    return np.asarray(np.sum([hiss, *voices], axis=0), np.float32)


def measure_loudness(audio: Samples, time_s: float) -> float:
    """Return how loud audio is around a time after its start, 0..1."""
    middle, half = round(time_s * VOICE_RATE_HZ), round(0.04 * VOICE_RATE_HZ)
    around = audio[max(0, middle - half) : max(0, middle + half)]
    return min(1.0, float(np.sqrt(np.mean(around**2))) / LOUD) if around.size else 0.0
