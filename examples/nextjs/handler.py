"""A RunPod handler that reports its progress: it makes a small picture, step by step."""

import base64
import os
import struct
import time
import zlib

import runpod

SIDE = 16


def png(rows):
    """A picture of 8-bit RGB rows, as the bytes of a PNG file."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def handler(job):
    prompt, steps = job["input"]["prompt"], job["input"]["steps"]
    seed = zlib.crc32(prompt.encode())
    for step in range(steps):
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.2")))
        runpod.serverless.progress_update(job, {"percent": 100 * (step + 1) // steps})
    rows = [
        bytes((seed >> shift) + x * 9 + y * 7 & 255 for x in range(SIDE) for shift in (0, 8, 16))
        for y in range(SIDE)
    ]
    picture = base64.b64encode(png(rows)).decode()
    return {"prompt": prompt, "picture": f"data:image/png;base64,{picture}"}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
