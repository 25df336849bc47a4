"""pyairtable through the gateway: every request passes authentication, limits, permissions, the
connector, and the pacing of five requests a second in front of the simulator, whose own limits
are in force and would pause for thirty seconds."""

import pytest
import requests
from pyairtable_scenarios import *  # noqa: F403
from pyairtable_scenarios import Endpoint


@pytest.fixture(scope="module")
def endpoint(platform):
    yield Endpoint(platform.gateway, platform.token, platform.ready["base"])
    stats = requests.get(f"{platform.simulator}/_sim/stats", timeout=10).json()
    assert "429" not in stats["by_status"], "the platform went over Airtable's limits"
