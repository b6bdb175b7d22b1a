"""One user of a client: which job comes next, and whether what came back is that job's.

`clients/soak.mjs` has the same two functions for JavaScript.
"""

import random

# Most jobs take from 1 s to 9 s.
COUNTS = (2, 6)
PAUSES_S = (0.5, 1.5)
# One job in so many says nothing for longer than a request of any client may take.
QUIET_EVERY = 20
QUIET_S = 12.0


def jobs(name, seed):
    """The inputs of a user's jobs, without end."""
    dice = random.Random(f"{seed}/{name}")
    number = 0
    while True:
        count, pause_s = dice.randint(*COUNTS), round(dice.uniform(*PAUSES_S), 2)
        if dice.randrange(QUIET_EVERY) == 0:
            count, pause_s = 1, QUIET_S
        yield {"nonce": f"{name}-{number}", "count": count, "pause_s": pause_s}
        number += 1


def chunks(given):
    """What the handler yields for an input, which is also its output."""
    return [{"nonce": given["nonce"], "number": number} for number in range(given["count"])]


def check(given, seen):
    assert seen == chunks(given), f"{given['nonce']}: expected {given['count']} chunks, got {seen}"
