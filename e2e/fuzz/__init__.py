"""Requests made up from RunPod's OpenAPI document, against the emulator and the server."""
