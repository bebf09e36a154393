"""What skin, eyes, hair, teeth and cloth look like in Blender's renderer."""

from typing import Any

import bpy
from people import Colour


class Shader:
    """A Principled material whose inputs can be set or linked by name."""

    def __init__(self, name: str, **inputs: Any) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes = self.material.node_tree.nodes
        self.principled = self.nodes["Principled BSDF"]
        for key, value in inputs.items():
            self.set(key.replace("_", " "), value)

    def set(self, key: str, value: Any) -> None:
        """Set an input of the material, or link another node's output to it."""
        self.put(value, self.principled.inputs[key])

    def put(self, value: Any, socket: Any) -> None:
        """Link an output to an input, or set it to a number or colour."""
        if isinstance(value, bpy.types.NodeSocket):
            self.material.node_tree.links.new(value, socket)
        else:
            socket.default_value = (*value, 1) if isinstance(value, tuple) else value

    def read(self, attribute: str, output: str = "Color") -> Any:
        """Return the output of an attribute of the mesh."""
        node = self.nodes.new("ShaderNodeAttribute")
        node.attribute_name = attribute
        return node.outputs[output]

    def compute(self, operation: str, *values: Any) -> Any:
        """Return the output of a Math node."""
        node = self.nodes.new("ShaderNodeMath")
        node.operation = operation
        for value, socket in zip(values, node.inputs, strict=False):
            self.put(value, socket)
        return node.outputs[0]

    def scale(self, colour: Any, factor: Any) -> Any:
        """Return a colour times a number."""
        node = self.nodes.new("ShaderNodeVectorMath")
        node.operation = "SCALE"
        self.put(colour, node.inputs[0])
        self.put(factor, node.inputs["Scale"])
        return node.outputs[0]

    def noise(self, scale: float, detail: float = 3) -> Any:
        """Return noise, 0..1, that moves with the skin: it is fixed to the texture."""
        node = self.nodes.new("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = detail
        self.put(self.nodes.new("ShaderNodeUVMap").outputs[0], node.inputs["Vector"])
        return node.outputs[0]

    def bump(self, height: Any, strength: float, distance: float) -> None:
        """Let the surface look rough."""
        node = self.nodes.new("ShaderNodeBump")
        node.inputs["Strength"].default_value = strength
        node.inputs["Distance"].default_value = distance
        self.put(height, node.inputs["Height"])
        self.set("Normal", node.outputs[0])


def make_skin() -> Any:
    """Return skin: the mesh's colours, mottled, with pores."""
    shader = Shader("skin")
    coarse, fine = shader.noise(130), shader.noise(600)
    mottle = shader.compute("MULTIPLY_ADD", coarse, 0.3, shader.compute("MULTIPLY", fine, 0.2))
    mottled = shader.scale(shader.read("tint"), shader.compute("ADD", mottle, 0.75))
    shader.set("Base Color", mottled)
    shader.set("Roughness", shader.compute("MULTIPLY_ADD", shader.noise(220), 0.3, 0.34))
    shader.bump(shader.noise(900, 5), 0.3, 0.006)
    return shader.material


def make_cloth(colour: Colour) -> Any:
    """Return cloth that ends where the attribute `inside` falls to 0."""
    shader = Shader("cloth", Base_Color=colour, Roughness=0.95)
    inside = shader.read("inside", "Fac")
    shader.set("Alpha", shader.compute("GREATER_THAN", inside, 0.0))
    shader.bump(shader.noise(500, 4), 0.5, 0.02)
    return shader.material


def make_eye(iris: Colour, radius: float) -> Any:
    """Return an eyeball: rings around the axis of the sphere, under a wet coat."""
    shader = Shader("eye", Roughness=0.25, Coat_Weight=0.4, Coat_Roughness=0.02)
    axis = shader.nodes.new("ShaderNodeSeparateXYZ")
    shader.put(shader.nodes.new("ShaderNodeTexCoord").outputs["Object"], axis.inputs[0])
    angle = shader.compute("ARCCOSINE", shader.compute("DIVIDE", axis.outputs[2], radius))
    ramp = shader.nodes.new("ShaderNodeValToRGB")
    shader.put(angle, ramp.inputs[0])
    dark = tuple(0.5 * c for c in iris)
    rings = (
        (0.0, (0, 0, 0)),
        (0.18, (0, 0, 0)),  # the pupil's edge
        (0.21, iris),
        (0.40, dark),
        (0.47, (0.01, 0.01, 0.01)),
        (0.54, (0.58, 0.54, 0.51)),  # the white begins
        (0.9, (0.6, 0.5, 0.46)),
    )
    stops = ramp.color_ramp.elements
    while len(stops) < len(rings):
        stops.new(0.5)
    for stop, (position, colour) in zip(stops, rings, strict=True):
        stop.position, stop.color = position, (*colour, 1)
    shader.set("Base Color", ramp.outputs[0])
    return shader.material


def make_plain(name: str, colour: Colour, roughness: float, alpha: float = 1.0) -> Any:
    """Return a material of one colour: teeth, tongue, hair, lashes."""
    return Shader(name, Base_Color=colour, Roughness=roughness, Alpha=alpha).material
