"""A RunPod handler that does real work on a CPU: it draws a fractal and returns it as a PNG.

The same file runs on RunPod, under Overspill's local workers and alone. The work is deterministic:
one input gives the same bytes anywhere, so that outputs can be compared.

Input: `{"seed": 7, "width": 320, "height": 240, "steps": 120, "as": "base64"}`. With `"as": "url"`
the picture is written below `OUTPUT_DIR` and its file URL is returned, as handlers do that upload to
a bucket.
"""

import base64
import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

PIXELS_MAX = 4096 * 4096


def number(given, name, default, least, most):
    """An integer of the input, within its bounds."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"`{name}` is {value!r}; expected an integer from {least} to {most}")
    return value


def draw(seed, width, height, steps):
    """A Julia set whose constant and colours come from the seed, as an array of bytes."""
    dice = np.random.Generator(np.random.PCG64(seed))
    angle = dice.uniform(0.0, 2.0 * np.pi)
    constant = complex(0.7885 * np.cos(angle), 0.7885 * np.sin(angle))
    colours = dice.integers(0, 256, size=(steps + 1, 3), dtype=np.uint8)
    x = np.linspace(-1.6, 1.6, width)
    y = np.linspace(-1.2, 1.2, height)
    plane = x[np.newaxis, :] + 1j * y[:, np.newaxis]
    escaped_at = np.full(plane.shape, steps, dtype=np.int64)
    inside = np.ones(plane.shape, dtype=bool)
    for step in range(steps):
        plane[inside] = plane[inside] ** 2 + constant
        leaving = inside & (np.abs(plane) > 2.0)
        escaped_at[leaving] = step
        inside &= ~leaving
    return colours[escaped_at]


def picture(given):
    """The PNG for an input."""
    seed = number(given, "seed", 0, 0, 2**32 - 1)
    width = number(given, "width", 320, 16, 4096)
    height = number(given, "height", 240, 16, 4096)
    steps = number(given, "steps", 120, 1, 5000)
    if width * height > PIXELS_MAX:
        raise ValueError(f"{width} x {height} is more than {PIXELS_MAX} pixels")
    buffer = io.BytesIO()
    Image.fromarray(draw(seed, width, height, steps)).save(buffer, format="PNG")
    return buffer.getvalue()


def handler(job):
    given = job["input"]
    png = picture(given)
    digest = hashlib.sha256(png).hexdigest()
    if given.get("as", "base64") == "url":
        folder = Path(os.environ.get("OUTPUT_DIR", "pictures"))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{digest}.png"
        path.write_bytes(png)
        return {"url": path.resolve().as_uri(), "sha256": digest, "bytes": len(png)}
    return {"image": base64.b64encode(png).decode(), "sha256": digest, "bytes": len(png)}


if __name__ == "__main__":
    import runpod

    runpod.serverless.start({"handler": handler})
