"""Cards that a test holds in its hand, behind the NVML that the real server loads."""

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder):
    """Compiles the library; the folder to look for libraries in."""
    library = folder / "libnvidia-ml.so.1"
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE]
    subprocess.run(command, check=True)
    return folder


def card_of(pid):
    """The uuid of the card that a worker was given."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [card] = [v for v in variables if v.startswith(b"CUDA_VISIBLE_DEVICES=")]
    return card.partition(b"=")[2].decode()


class Cards:
    """What the driver says, changed while the server runs."""

    def __init__(self, library, state, *uuids):
        self.state = state
        self.variables = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(state)}
        self.driver = {"state": "well", "loaded": 0}
        self.cards = {uuid: {"state": "well", "errors": 0, "pids": ()} for uuid in uuids}
        self.write()

    def say(self, uuid, **changed):
        self.cards[uuid] |= changed
        self.write()

    def driver_says(self, **changed):
        """Of the driver as a whole: its state, and how often it was loaded."""
        self.driver |= changed
        self.write()

    def write(self):
        """As one step: the driver reads it at any moment."""
        lines = [f"driver {self.driver['state']} {self.driver['loaded']} -\n"] + [
            f"{uuid} {card['state']} {card['errors']} {','.join(map(str, card['pids'])) or '-'}\n"
            for uuid, card in self.cards.items()
            if card["state"] != "missing"
        ]
        new = self.state.with_suffix(".new")
        new.write_text("".join(lines))
        new.replace(self.state)
