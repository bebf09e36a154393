"""Put people before a wall: the pictures of a video."""

from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np
from audio import measure_loudness, mix_voice
from clips import (
    FACE_CENTRE,
    Actor,
    Clip,
    Face,
    Pose,
    box_face,
    find_face,
    find_pose,
    measure_overlap,
)
from morph import Morph
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

PERSON_SHARE = 3.4  # hair and shoulders: size as a share of the face's
# Rows of a rendered picture: what is above the first moves with the head, below the last nothing.
CHIN_ROW, COLLAR_ROW = 225.0, 275.0
NECK = (192.0, 250.0)  # what a head leans about
SWAY_DEGREES, SWAY_PIXELS = 1.6, 1.5  # how far a head that keeps still moves


@cache
def paint_room(size: tuple[int, int], shot: int) -> Floats:
    """Return a background (H, W, 3): a wall with shelves, out of focus, other ones in each shot."""
    width, height = size
    random = np.random.default_rng(3 + shot)
    wall = np.linspace((206, 200, 188), (160, 152, 142), height)
    room = np.repeat(wall[:, None], width, axis=1).astype(np.float32)
    for shelf in (0.28, 0.62):
        x, bottom = 0.0, shelf * height
        while x < width:
            thick, tall = random.uniform(0.02, 0.05) * height, random.uniform(0.12, 0.2) * height
            box = (round(x), round(bottom - tall)), (round(x + thick), round(bottom))
            colour = np.array((150, 135, 120)) * random.uniform(0.5, 1.2)
            colour = colour + random.uniform(-20, 20, 3)
            cv2.rectangle(room, *box, colour.tolist(), -1)
            x += thick * random.choice((1.1, 1.1, 2.5))
    return np.asarray(cv2.GaussianBlur(room, (0, 0), height / 45), dtype=np.float32)


def find_places(pose: Pose, size: tuple[int, int], sway: float) -> Floats:
    """Return which place of the rendered picture is seen at every pixel of the video, (H, W, 2).

    `sway` (-1..1) leans the head on its neck; the shoulders keep still.
    """
    matrix = cv2.getRotationMatrix2D(FACE_CENTRE, pose.lean_degrees, pose.scale)
    matrix[:, 2] += np.multiply((pose.x, pose.y), size) - FACE_CENTRE
    back = cv2.invertAffineTransform(matrix)
    column, row = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    at = np.dstack((column, row, np.ones_like(row))) @ back.T  # (H, W, 2)
    moved = np.clip((COLLAR_ROW - at[..., 1]) / (COLLAR_ROW - CHIN_ROW), 0, 1)
    moved = sway * moved * moved * (3 - 2 * moved)
    angle = np.radians(SWAY_DEGREES) * moved
    x, y = at[..., 0] - NECK[0], at[..., 1] - NECK[1]
    across = np.cos(angle) * x + np.sin(angle) * y + NECK[0] + SWAY_PIXELS * moved
    down = np.cos(angle) * y - np.sin(angle) * x + NECK[1]
    return np.dstack((across, down)).astype(np.float32)


def place_person(picture: Floats, person: Floats, places: Floats) -> Floats:
    """Return the picture (H, W, 3) with a person (H, W, 4), opacity multiplied in, before it."""
    seen = cv2.remap(person, places[..., 0], places[..., 1], cv2.INTER_CUBIC)
    opacity = np.clip(seen[..., 3:] / 255, 0, 1)
    return np.asarray(picture * (1 - opacity) + seen[..., :3], dtype=np.float32)


def find_faces(clip: Clip, actor: Actor) -> list[Face | None]:
    """Return how a person looks in every frame, None where nothing is to be seen."""
    voice = mix_voice(clip, actor)
    faces: list[Face | None] = []
    for time_ms in clip.times_ms:
        time_s = time_ms / 1000
        loudness = measure_loudness(voice, time_s - clip.audio_start_s)
        person = box_face(clip, find_pose(actor.poses, time_s), PERSON_SHARE)
        seen = measure_overlap(person, (0, 0, *clip.size)) > 0
        faces.append(find_face(actor, time_s, loudness) if seen else None)
    return faces


def draw_frames(clip: Clip, morph: Morph) -> Iterator[Image]:
    """Yield the pictures (H, W, 3) of a clip as displayed."""
    faces = [find_faces(clip, actor) for actor in clip.actors]
    for number, time_ms in enumerate(clip.times_ms):
        time_s = time_ms / 1000
        picture = paint_room(clip.size, sum(cut_s <= time_s for cut_s in clip.cuts_s))
        for k, actor in enumerate(clip.actors):
            face = faces[k][number]
            if face is not None:
                sway = float(np.sin(1.7 * time_s + 2 * k) * np.cos(0.6 * time_s))
                places = find_places(find_pose(actor.poses, time_s), clip.size, sway)
                picture = place_person(picture, morph.draw(face), places)
        yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)
