//! Where things are.

use std::path::PathBuf;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it when it runs a program; what was built in may name another clone that shares
    // the target folder.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().unwrap_or(&manifest).to_path_buf()
}

/// Cargo's folder for the host.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Cargo's folder for components and test guests: beside the host's, so that a build of one never
/// waits for the other.
pub(crate) fn guest_target() -> PathBuf {
    let mut folder = target().into_os_string();
    folder.push("-guests");
    folder.into()
}

/// The folder that finished components are put in.
pub(crate) fn component_output() -> PathBuf {
    guest_target().join("components")
}
