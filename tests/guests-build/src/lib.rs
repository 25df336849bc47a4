//! Builds the guests in `tests/guests` once a test run and says where they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use parking_lot::Mutex;

/// Paths of the guest `hostile`, each a fault of its own.
pub const HOSTILE_DEEDS: [&str; 12] = [
    "trap",
    "loop",
    "memory",
    "stack",
    "no-response",
    "headers",
    "bad-header",
    "status",
    "endless",
    "log",
    "huge",
    "unfinished",
];

/// Serialises builds of one test binary; cargo's own lock serialises those of several.
static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The component of a guest, named as its folder in `tests/guests`; built if it is out of date.
///
/// # Panics
/// Where it cannot be built: a test without its guest proves nothing.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let target = target_folder(&folder);
    let mut built = BUILT.lock();
    if !built.iter().any(|done| done == name) {
        let package = format!("guest-{name}");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--quiet",
                "--release",
                "--target",
                "wasm32-wasip2",
                "--package",
                &package,
            ])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &target)
            // What cargo sets for the test that runs is not for another workspace's build.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        match status {
            Ok(status) if status.success() => built.push(name.to_owned()),
            Ok(status) => panic!("building the guest `{name}` ended with {status}"),
            Err(error) => panic!("cargo cannot be run to build the guest `{name}`: {error}"),
        }
    }
    target.join(format!("wasm32-wasip2/release/guest_{}.wasm", name.replace('-', "_")))
}

/// Beside the host's own target folder, where `cargo xtask` builds components too.
fn target_folder(folder: &Path) -> PathBuf {
    let host = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| folder.join("../../target"), PathBuf::from);
    let mut name = host.into_os_string();
    name.push("-guests");
    name.into()
}
