"""Runs the commands of docs/tutorial.md in order, as a reader would paste them."""

import os
import re
import shutil
import subprocess

from conftest import REPOSITORY, start

COMMAND_SECONDS = 900


def commands() -> list[str]:
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    return re.findall(r"```sh\n(.*?)```", text, re.S)


def test_every_command_works(tmp_path):
    policies = tmp_path / "policies"
    shutil.copytree(REPOSITORY / "policies", policies)
    config = tmp_path / "airhost.toml"
    config.write_text(f'[node]\npolicies = "{policies}"\n')
    platform = start(tmp_path / "state", "--config", str(config))
    try:
        folder = tmp_path / "work"
        folder.mkdir()
        binary = os.path.dirname(os.path.abspath(os.environ["AIRHOST"]))
        environment = os.environ | {
            "PATH": f"{binary}:{os.environ['PATH']}",
            "AIRHOST_STATE": str(platform.state),
            "GATEWAY": platform.gateway,
            "ROUTES": str(policies / "gateway" / "routes.yaml"),
            "TOKEN": platform.token,
        }
        # Dependencies of the services are compiled once for all runs.
        if guests := os.environ.get("AIRHOST_GUEST_TARGET"):
            environment["CARGO_TARGET_DIR"] = f"{guests}/tutorial"
        found = commands()
        assert found, "the tutorial has commands"
        for command in found:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    finally:
        assert platform.stop() == 0
