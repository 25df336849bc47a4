"""Components that other languages and tools make serve requests in the same host.

Each is built by its own tool, unmodified: a plain `wasi:http` 0.2 component, componentize-py, jco and
cargo component.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from conftest import REPOSITORY, start

BUILD_SECONDS = 1200
ROUTES = """
routes:
  - {{ name: {name}, path: "/{name}/**", rewrite: "{rewrite}", service: {name}, auth: none }}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    folder = tmp_path_factory.mktemp("languages")
    shutil.copytree(REPOSITORY / "policies", folder / "policies")
    config = folder / "airhost.toml"
    config.write_text(f'[node]\npolicies = "{folder / "policies"}"\n')
    running = start(folder / "state", "--config", str(config))
    running.policies = folder / "policies" / "gateway"
    yield running
    assert running.stop() == 0


def run(*words, cwd: Path, **environment) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def serve(platform, name: str, artifact: Path, rewrite: str, *words: str) -> str:
    """Deploys an artifact and gives it a route; answers the URL below which it is reached."""
    platform.airhost("deploy", str(artifact), *words)
    (platform.policies / f"{name}.yaml").write_text(ROUTES.format(name=name, rewrite=rewrite))
    url = f"{platform.gateway}/{name}"
    # The change of routes is seen a moment later.
    for _ in range(200):
        answer = requests.get(f"{url}/probe", timeout=30)
        if answer.status_code != 404 or "request.no-route" not in answer.text:
            return url
    raise AssertionError("the route did not appear")


def generated(platform, tmp_path: Path, language: str) -> Path:
    """The folder that `airhost new` makes."""
    name = f"hello-{language}"
    platform.airhost("new", name, "--lang", language, "--path", str(tmp_path))
    return tmp_path / name


def greets(url: str):
    answer = requests.get(f"{url}/x", params={"name": "Zoë"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"message": "Hello, Zoë!"}
    assert answer.headers["x-correlation-id"]


def test_python(platform, tmp_path):
    folder = generated(platform, tmp_path, "python")
    # Where pip has put componentize-py, as for someone who has activated the environment.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run(os.environ["AIRHOST"], "build", ".", cwd=folder, PATH=path)
    greets(serve(platform, "hello-python", folder / "hello-python.wasm", "/api/v1/greetings"))


def test_javascript(platform, tmp_path):
    folder = generated(platform, tmp_path, "js")
    run("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=folder)
    run(os.environ["AIRHOST"], "build", ".", cwd=folder)
    greets(serve(platform, "hello-js", folder / "hello-js.wasm", "/api/v1/greetings"))


def test_wasi_http(platform, tmp_path):
    guests = REPOSITORY / "tests" / "guests"
    target = os.environ["AIRHOST_GUEST_TARGET"]
    run("cargo", "build", "--quiet", "--release", "--target", "wasm32-wasip2", "--package", "guest-wasi-http",
        cwd=guests, CARGO_TARGET_DIR=target)
    manifest = tmp_path / "service.toml"
    manifest.write_text(
        'name = "plain-wasi"\nteam = "tests"\ndescription = "Knows nothing of this platform."\n'
        'port = 8196\ncontract = "0.1"\n[grants]\nforeign-wasi-http = true\n'
        '[[egress]]\nhost = "example.com"\n'
    )
    artifact = Path(target) / "wasm32-wasip2" / "release" / "guest_wasi_http.wasm"
    url = serve(platform, "plain-wasi", artifact, "/**", "--manifest", str(manifest))
    answer = requests.post(f"{url}/echo", data=b"body", headers={"x-test": "seen"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.text == "/echo seen body"
    assert answer.headers["x-plain"] == "yes"


def test_cargo_component(platform, tmp_path):
    if not shutil.which("cargo-component"):
        pytest.fail("cargo component is not installed: `cargo xtask test languages` installs it")
    folder = tmp_path / "hello-component"
    shutil.copytree(REPOSITORY / "tests" / "languages" / "cargo-component", folder)
    platform.airhost("new", "contracts", "--lang", "python", "--path", str(tmp_path))
    shutil.copytree(tmp_path / "contracts" / "wit", folder / "wit")
    target = f"{os.environ['AIRHOST_GUEST_TARGET']}/cargo-component"
    run("cargo", "component", "build", "--release", cwd=folder, CARGO_TARGET_DIR=target)
    built = next(Path(target).glob("*/release/hello_component.wasm"))
    artifact = folder / "hello-component.wasm"
    run(os.environ["AIRHOST"], "build", ".", "--component", built, "--output", artifact, cwd=folder)
    greets(serve(platform, "hello-component", artifact, "/api/v1/greetings"))
