"""The serving process is killed and cannot come back for a while, and workers finish meanwhile.

`python -m outage --seconds 60 --sdk 20 --scripted 200`, or `cargo xtask outage`. The keeper holds the
socket, so every result posted during the outage must be recorded and none of those jobs may run twice. A
post that the server had accepted when the kill came is another matter: RunPod's SDK does not repeat it, so
its job runs again and must be recorded once. The last line says both.
"""
