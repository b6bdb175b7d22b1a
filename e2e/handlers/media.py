"""What the image, speech, transcription and video models of the AI SDK expect, and LangChain's text.

`input.prompt` is `fail` for a failure and starts with `slow` for an answer that waits for the file GATE.
"""

import os

import runpod
from common import hold, note

FILE = "data:application/octet-stream;base64,AAECAw=="


def handler(job):
    note(job)
    given = job["input"]
    prompt = given.get("prompt", "")
    if prompt.endswith("fail"):
        return {"error": "the model's own words"}
    if prompt.startswith("slow"):
        hold(os.environ["GATE"])
    if "audio_base64" in given:
        return {"text": f"heard {given['audio_base64']}"}
    # One answer for all: each client reads its own key.
    return {"text": f"said {prompt}", "result": FILE, "image_url": FILE, "audio_url": FILE, "video_url": FILE}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
