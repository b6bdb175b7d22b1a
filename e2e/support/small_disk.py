"""A disk of a few hundred megabytes that can be filled: a tmpfs in a mount namespace of its own."""

import os
import shlex
import subprocess

from support.processes import binary


class SmallDisk:
    """Mounted at `place` for whoever runs through `program`; `None` is what `make` returns where the
    system lets nobody mount anything."""

    def __init__(self, holder, place, program):
        self.holder = holder
        self.place = place
        self.program = program
        # The same folder as it is inside.
        self.inside = f"/proc/{holder.pid}/root{place}"

    @classmethod
    def make(cls, folder, place, megabytes):
        place.mkdir(parents=True)
        as_root = os.getuid() == 0
        apart = ["unshare", "--mount"] if as_root else ["unshare", "--map-root-user", "--mount"]
        mount = f"mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs {shlex.quote(str(place))}"
        holder = subprocess.Popen(
            [*apart, "sh", "-c", f"{mount} && echo mounted && exec sleep 600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = holder.stdout.readline().strip()
        if said != "mounted":
            print(f"no disk of our own: {said!r}")
            holder.kill()
            holder.wait()
            return None
        spaces = "--mount" if as_root else "--user --preserve-credentials --mount"
        program = folder / "on-the-small-disk"
        program.write_text(
            f"#!/bin/sh\nexec nsenter --target {holder.pid} {spaces} "
            f"--wd={shlex.quote(str(folder))} {shlex.quote(binary())} \"$@\"\n"
        )
        program.chmod(0o755)
        return cls(holder, place, program)

    def free(self):
        disk = os.statvfs(self.inside)
        return disk.f_bavail * disk.f_frsize

    def fill(self):
        """Takes up all that is free, to the last page."""
        with open(f"{self.inside}/filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free())

    def clear(self):
        os.remove(f"{self.inside}/filler")

    def end(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
