"""pyairtable against the simulator alone, which vouches for the simulator."""

import os
import re
import signal
import subprocess

import pytest
from pyairtable_scenarios import *  # noqa: F403
from pyairtable_scenarios import Endpoint


@pytest.fixture(scope="module")
def endpoint():
    command = [os.environ["AIRHOST"], "sim", "airtable", "--listen", "127.0.0.1:0", "--no-limits"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", process.stdout.readline()).group()
        yield Endpoint(url, "patDemoFull000001.secret", "appDemoSales00001")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
