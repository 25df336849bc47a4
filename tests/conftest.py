"""A running platform for the tests: the host's own binary on free ports, with a state folder of its own."""

import json
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 120
# A deploy compiles; interpreters are large.
COMMAND_SECONDS = 600


@dataclass
class Platform:
    """What `airhost up --json` prints once it is ready."""

    process: subprocess.Popen
    state: Path
    ready: dict

    @property
    def gateway(self) -> str:
        return self.ready["gateway"]

    @property
    def token(self) -> str:
        return self.ready["token"]

    @property
    def simulator(self) -> str:
        """The Airtable behind it; `/_sim/` there makes faults."""
        return self.ready["simulator"]

    def airhost(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs another `airhost` command against this node."""
        command = [os.environ["AIRHOST"], *words, "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str):
        """What a command prints with `--json`."""
        return json.loads(self.airhost("--json", *words).stdout)

    def kill(self) -> None:
        """As if the machine lost its power."""
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self, seconds: float = 60) -> int:
        """Ctrl-C; answers the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=seconds)


def launch_process(
    state: Path, *words: str, components: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """Starts a platform, with more in its environment, and does not wait for it.

    With `components` empty it runs what was deployed to the state folder before.
    """
    if components is None:
        components = os.environ["AIRHOST_COMPONENTS"]
    command = [
        os.environ["AIRHOST"], "up", "--json", "--state", str(state),
        *(["--components", components] if components else []),
        "--gateway", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--observability", "127.0.0.1:0",
        *words,
    ]
    with open(state.parent / "stderr.txt", "a", encoding="utf-8") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPOSITORY,
            env=os.environ | (environment or {}),
        )


def start(state: Path, *words: str, **more) -> Platform:
    """Starts a platform and waits until it says that it is ready."""
    process = launch_process(state, *words, **more)
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        first = lines.get(timeout=START_SECONDS)
        return Platform(process, state, json.loads(first))
    except (queue.Empty, ValueError) as error:
        process.kill()
        text = (state.parent / "stderr.txt").read_text()
        raise RuntimeError(f"the platform did not start: {text}") from error


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """One platform for all tests that do not break it."""
    running = start(tmp_path_factory.mktemp("platform") / "state")
    yield running
    assert running.stop() == 0, "Ctrl-C must drain and exit 0"


@pytest.fixture(scope="module")
def start_platform():
    """Starts platforms for tests that break them; they are gone afterwards."""
    started = []

    def begin(state: Path, *words: str, **more) -> Platform:
        started.append(start(state, *words, **more))
        return started[-1]

    yield begin
    for running in started:
        running.kill()


@pytest.fixture
def launch():
    """Starts processes that may not live until they are ready."""
    started = []

    def begin(state: Path, *words: str, **more) -> subprocess.Popen:
        started.append(launch_process(state, *words, **more))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait(timeout=20)
