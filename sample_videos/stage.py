"""The camera, the light and the renderer: who stands before them comes out as RGBA."""

from pathlib import Path
from typing import Any

import bpy
from camera import DISTANCE, FOCUS, HEIGHT, MIDDLE_Y, WIDTH
from mathutils import Vector

SAMPLES = 4  # rays a pixel; the denoiser does the rest
LIGHTS = (  # where, how strong, how wide: from the left, a weaker one, and one from behind
    ((-5, 10, 9), 1500, 5),
    ((7, 7, 8), 450, 7),
    ((4, 10, -6), 350, 3),
)


def _add(name: str, data: Any, place: tuple[float, float, float]) -> Any:
    thing = bpy.data.objects.new(name, data)
    thing.location = place
    bpy.context.collection.objects.link(thing)
    return thing


def _configure(scene: Any, threads: int) -> None:
    """Choose the renderer, on the CPU, and what it writes."""
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y = WIDTH, HEIGHT
    render.film_transparent, render.use_persistent_data = True, True
    render.threads_mode, render.threads = "FIXED", threads
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    cycles.device, cycles.samples, cycles.max_bounces = "CPU", SAMPLES, 2
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_quality = "FAST"
    scene.cycles_curves.shape = "RIBBONS"
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"


def set_stage(threads: int = 1) -> None:
    """Empty Blender's scene and set up camera and light."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _configure(scene, threads)
    camera = bpy.data.cameras.new("camera")
    camera.sensor_width = 24
    camera.lens = 24 * FOCUS / WIDTH
    scene.camera = _add("camera", camera, (0, MIDDLE_Y, DISTANCE))
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    sky = scene.world.node_tree.nodes["Background"].inputs
    sky[0].default_value, sky[1].default_value = (0.34, 0.36, 0.39, 1), 0.8
    for place, power, size in LIGHTS:
        lamp = bpy.data.lights.new("lamp", "AREA")
        lamp.energy, lamp.size = power, size
        thing = _add("lamp", lamp, place)
        towards = Vector((0, 7, 0.8)) - Vector(place)
        thing.rotation_euler = towards.to_track_quat("-Z", "Y").to_euler()


def render_picture(path: Path) -> None:
    """Render what stands there into a PNG."""
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
