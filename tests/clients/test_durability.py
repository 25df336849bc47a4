"""What was acknowledged outlives the process's being killed, whole and once."""

import random

from acknowledged import Writes
from gateway_users import login

ROUNDS = 4
# Of a random moment: late enough for some writes, long enough for the moments to differ.
SECONDS = (0.5, 2.5)


def test_acknowledged_writes_outlive_a_kill(start_platform, tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    state = tmp_path / "state"
    running = start_platform(state)
    user = running.ready["user"]
    writes = Writes(login(running, user["email"], user["password"])["access_token"])
    for _ in range(ROUNDS):
        writes.until_killed(running, moments.uniform(*SECONDS))
        running = start_platform(state)
        assert not writes.wrong(running)
        writes.settle(running)
    assert running.stop() == 0
