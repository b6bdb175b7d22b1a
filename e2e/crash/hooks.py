"""The crash run's webhook receiver: it holds each request a moment, so that kills fall between a
delivery and its note in the store, and says which jobs were told of, under which ids, with what."""

import json
import random
import threading
from collections import defaultdict

from support.receiver import Receiver

# How long an answer is held at most, in seconds: about a third of the pause between two kills.
HOLD_S = 0.2


class Hooks(Receiver):
    """Answers 204 to all, some of them late."""

    def __init__(self, seed):
        super().__init__()
        self.dice = random.Random(f"{seed}/hooks")
        self.pause = threading.Event()

    def hold(self):
        # The dice are shared by the receiver's threads; which thread gets which throw is no matter.
        self.pause.wait(self.dice.choice((0.0, 0.0, self.dice.uniform(0.0, HOLD_S))))

    def told(self):
        """What was delivered: {job: {webhook id: [(status, output), one for each different body]}}."""
        told = defaultdict(lambda: defaultdict(list))
        for delivery in list(self.deliveries):
            body = json.loads(delivery.body)
            said = {"status": body["status"], "output": body.get("output")}
            bodies = told[body["id"]][delivery.id]
            if said not in bodies:
                bodies.append(said)
        return {job: dict(ids) for job, ids in told.items()}

    def jobs(self):
        """Ids of the jobs that were told of."""
        return {json.loads(delivery.body)["id"] for delivery in list(self.deliveries)}
