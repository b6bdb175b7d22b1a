"""What people see in a terminal of 80 by 24: `overspill top`, moved by keys, and the other commands; with and without colours."""

import fcntl
import os
import pty
import re
import struct
import termios

import pytest

from support.processes import binary, environment
from support.server import endpoint, scripted_pool
from support.wait import until

COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-7]|38|9[0-7])[0-9;]*m")


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(endpoint("tts", scripted_pool()), endpoint("sdxl"))


class Screen:
    """The program on a pseudo terminal of its own, with all that it wrote."""

    def __init__(self, server, *arguments, command="top", **variables):
        env = environment(server.folder / "home", OVERSPILL_URL=server.base, OVERSPILL_API_KEY=server.key)
        env |= {"TERM": "xterm-256color"} | variables
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(binary(), [binary(), command, *arguments], env)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(self.terminal, False)
        self.written = b""

    def read(self):
        """What stands on the screen now: only cells that changed are written, each after a move."""
        try:
            self.written += os.read(self.terminal, 65536)
        except (BlockingIOError, OSError):
            pass
        cells = [[" "] * 80 for _ in range(24)]
        row = column = 0
        text = self.written.decode(errors="replace")
        for found in re.finditer(r"\x1b\[([0-9;?]*)([a-zA-Z])|\x1b.|([^\x1b\r\n])", text):
            numbers, command, letter = found.groups()
            if command == "H":
                row, column = (int(n) - 1 for n in (numbers or "1;1").split(";"))
            elif command == "J":
                cells = [[" "] * 80 for _ in range(24)]
            elif letter and row < 24 and column < 80:
                cells[row][column] = letter
                column += 1
        return "\n".join("".join(row) for row in cells)

    def shows(self, text):
        until(lambda: text in self.read(), lambda: f"{text!r} on\n{self.read()}")

    def press(self, keys):
        os.write(self.terminal, keys.encode())

    def end(self):
        """The exit status."""

        def ended():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid and [os.waitstatus_to_exitcode(status)]

        [status] = until(ended, "top ends")
        self.read()
        os.close(self.terminal)
        return status


def test_it_shows_the_server_and_moves_by_keys(server):
    server.finish("tts", {"nonce": "seen"})
    screen = Screen(server)
    screen.shows("ENDPOINT")
    screen.shows("tts")
    screen.press("d")
    screen.shows("nothing is wrong")
    screen.press("w")
    screen.shows("nothing_waits")
    screen.press("?")
    screen.shows("choose an endpoint")
    screen.press("j")
    screen.press("w")
    screen.shows("why tts")
    screen.press("q")
    assert screen.end() == 0
    assert b"\x1b[?1049l" in screen.written, "the terminal is given back as it was"


def test_it_takes_no_colours_where_none_are_wanted(server):
    screen = Screen(server, NO_COLOR="1")
    screen.shows("tts")
    assert not COLOUR.search(screen.written)
    screen.press("\x03")
    assert screen.end() == 0


def test_states_and_errors_have_colours_where_they_are_wanted(server):
    job = server.finish("tts", {"nonce": "coloured"})["id"]
    for variables, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        for command, arguments, code in (("jobs", (), 0), ("status", (job,), 0), ("why", (job,), 0), ("status", ("0" * 8,), 3)):
            screen = Screen(server, *arguments, command=command, **variables)
            assert screen.end() in (code, 2)
            assert bool(COLOUR.search(screen.written)) == is_coloured, (command, variables, screen.written)
            assert is_coloured or b"\x1b" not in screen.written
    # In a pipe there are none either.
    assert "\x1b" not in server.cli("jobs").stdout


def test_without_a_terminal_it_says_what_to_do(server):
    done = server.cli("top", check=False)
    assert done.returncode == 2
    assert "overspill status" in done.stderr
    assert "endpoints" in server.cli_json("top")
