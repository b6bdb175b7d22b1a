"""What the end-to-end tests stand on: processes, the server, the emulator, and waiting."""
