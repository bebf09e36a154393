"""Make the sample videos: `python sample_videos/make_samples.py [OUT]`.

Needs abawcli's packages, scikit-image (the portrait) and espeak-ng (the voice; on Debian and
Ubuntu `apt-get install espeak-ng`, on macOS `brew install espeak-ng`). Every clip is written with
an annotation in ABAW's text format beside it: one label a frame, -1 while less than half of the
face is in the picture. The label changes in the middle of the passage between two expressions.
"""

import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from animated_face import FACE_CENTRE, SCALE, AnimatedFace, Floats, Image
from clips import CLIPS, Clip, Pose, Speech, find_pose, label_frames, weigh_units

from abawcli.formats.atomic import write_whole
from abawcli.labels import CLASSES

MS = Fraction(1, 1000)  # the clock of all frames
VOICE_RATE_HZ = 22_050  # what espeak-ng writes
SPEECH_JAW = 0.3  # how far the loudest sound opens the mouth
AUDIO_BLOCK = 1024  # samples of an AAC frame


def place_portrait(clip: Clip, pose: Pose) -> Floats:
    """Return the matrix (2, 3) from the photograph's pixels to the picture's."""
    matrix = cv2.getRotationMatrix2D(FACE_CENTRE, pose.lean_degrees, pose.scale)
    there = np.asarray(matrix, dtype=np.float32)
    there[:, 2] += np.multiply((pose.x, pose.y), clip.size) - FACE_CENTRE
    return there


def paint_room(size: tuple[int, int]) -> Floats:
    """Return a background (H, W, 3): a wall with shelves, out of focus."""
    width, height = size
    random = np.random.default_rng(3)
    wall = np.linspace((206, 200, 188), (160, 152, 142), height)  # from top to bottom
    room = np.repeat(wall[:, None], width, axis=1).astype(np.float32)
    for shelf in (0.28, 0.62):
        x, bottom = 0.0, shelf * height
        while x < width:
            thick, tall = random.uniform(0.02, 0.05) * height, random.uniform(0.12, 0.2) * height
            box = (round(x), round(bottom - tall)), (round(x + thick), round(bottom))
            colour = np.array((150, 135, 120)) * random.uniform(0.5, 1.2) + random.uniform(
                -20, 20, 3
            )
            cv2.rectangle(room, *box, colour.tolist(), -1)
            x += thick * random.choice((1.1, 1.1, 2.5))
    return np.asarray(cv2.GaussianBlur(room, (0, 0), height / 45), dtype=np.float32)


def draw_frames(clip: Clip, face: AnimatedFace, sound: Floats) -> Iterator[Image]:
    """Yield the pictures (H, W, 3) of a clip as displayed. The jaw follows the sound."""
    room = paint_room(clip.size)
    to_photo = np.diag((1 / SCALE, 1 / SCALE, 1.0))
    to_photo[:2, 2] = 0.5 / SCALE - 0.5
    for time_ms in clip.times_ms:
        weights = weigh_units(clip, time_ms / 1000)
        opening = SPEECH_JAW * measure_loudness(sound, time_ms / 1000 - clip.sound_start_s)
        weights["jaw_drop"] = max(weights.get("jaw_drop", 0), opening)
        portrait = face.draw(weights)
        matrix = place_portrait(clip, find_pose(clip.poses, time_ms / 1000)) @ to_photo
        placed = cv2.warpAffine(portrait, matrix, clip.size).astype(np.float32)
        opacity = placed[..., 3:] / 255
        yield (room + opacity * (placed[..., :3] - room) + 0.5).astype(np.uint8)


def measure_loudness(sound: Floats, time_s: float) -> float:
    """Return how loud the sound is around a time, 0..1."""
    middle, half = round(time_s * VOICE_RATE_HZ), round(0.04 * VOICE_RATE_HZ)
    heard = sound[max(0, middle - half) : max(0, middle + half)]
    return min(1.0, 6 * float(np.sqrt(np.mean(heard**2)))) if heard.size else 0.0


def speak(speech: Speech) -> Floats:
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


def mix_sound(clip: Clip) -> Floats:
    """Return the sound track from its start to the last frame: sentences over a quiet hiss."""
    seconds = clip.times_ms[-1] / 1000 - clip.sound_start_s
    random = np.random.default_rng(0)
    sound = random.normal(0, 0.0005, round(seconds * VOICE_RATE_HZ)).astype(np.float32)
    for speech in clip.speech:
        voice = speak(speech)
        start = round((speech.start_s - clip.sound_start_s) * VOICE_RATE_HZ)
        sound[start : start + len(voice)] += voice
        end_s = speech.start_s + len(voice) / VOICE_RATE_HZ
        print(f"  speech {speech.start_s:.2f} to {end_s:.2f} s: {speech.text}")
    return sound


def encode_video(
    container: av.container.OutputContainer, clip: Clip, pictures: Iterator[Image]
) -> "list[av.Packet[Any]]":
    """Encode the pictures as H.264 at their times and return the packets."""
    stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "slow"})
    width, height = clip.size
    stream.width, stream.height = (height, width) if clip.turns % 2 else (width, height)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = MS
    stream.codec_context.thread_count = 1  # the same file on every machine
    stream.set_display_rotation(90 * clip.turns)
    packets = []
    for time_ms, picture in zip(clip.times_ms, pictures, strict=True):
        stored = np.ascontiguousarray(np.rot90(picture, -clip.turns))
        frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
        frame.pts, frame.time_base = time_ms, MS
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def encode_audio(
    container: av.container.OutputContainer, clip: Clip, sound: Floats
) -> "list[av.Packet[Any]]":
    """Encode the sound as AAC from its start on and return the packets."""
    stream = container.add_stream("aac", rate=VOICE_RATE_HZ, layout="mono")
    stream.bit_rate = 48_000
    packets = []
    for at in range(0, len(sound), AUDIO_BLOCK):
        block = sound[None, at : at + AUDIO_BLOCK]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = VOICE_RATE_HZ, Fraction(1, VOICE_RATE_HZ)
        frame.pts = round(clip.sound_start_s * VOICE_RATE_HZ) + at
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def write_clip(clip: Clip, face: AnimatedFace, folder: Path) -> None:
    """Write `<name>.mp4` and its annotation `<name>.txt`."""
    print(clip.name)
    sound = mix_sound(clip)
    path = folder / f"{clip.name}.mp4"
    with write_whole(path) as temporary, av.open(str(temporary), "w") as container:
        packets = encode_video(container, clip, draw_frames(clip, face, sound))
        packets += encode_audio(container, clip, sound)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    labels = label_frames(clip)
    with write_whole(path.with_suffix(".txt")) as temporary:
        temporary.write_text("\n".join([",".join(CLASSES), *map(str, labels)]) + "\n")
    print(f"  {len(labels)} frames, {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Write all clips to the folder named on the command line, or beside this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    if not shutil.which("espeak-ng"):
        sys.exit("espeak-ng is not installed; try: apt-get install espeak-ng")
    face = AnimatedFace()
    for clip in CLIPS:
        write_clip(clip, face, folder)


if __name__ == "__main__":
    main()
