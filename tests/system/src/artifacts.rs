//! Artifacts to deploy, and changed ones.

use airhost_manifest::{Artifact, Contents, Manifest, Migration};

/// The artifact of one of the platform's services.
#[must_use]
pub fn component(name: &str) -> Vec<u8> {
    let path = crate::components().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The component of a test guest, without a manifest.
#[must_use]
pub fn guest(name: &str) -> Vec<u8> {
    std::fs::read(airhost_test_guests::guest(name)).expect("the guest was built")
}

/// A component with a manifest.
#[must_use]
pub fn pack(component: &[u8], manifest: &str) -> Vec<u8> {
    let manifest = Manifest::parse("service.toml", manifest).expect("the manifest is valid");
    Artifact::pack(component, &Contents::of(manifest)).expect("it can be packed")
}

/// An artifact with other code.
#[must_use]
pub fn changed(artifact: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let artifact = Artifact::from_bytes(artifact).expect("it is an artifact");
    let mut component = artifact.bytes().to_vec();
    change(&mut component);
    Artifact::pack(&component, artifact.contents()).expect("it can be packed")
}

/// An artifact with another manifest text and further migrations (`expand`), by file name.
#[must_use]
pub fn with_manifest(
    artifact: &[u8],
    change: impl FnOnce(String) -> String,
    migrations: &[(&str, &str)],
) -> Vec<u8> {
    let artifact = Artifact::from_bytes(artifact).expect("it is an artifact");
    let mut contents = artifact.contents().clone();
    let text = change(contents.manifest.to_toml());
    contents.manifest =
        Manifest::parse("service.toml", &text).expect("the changed manifest is valid");
    if !migrations.is_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, sql: &str| {
            std::fs::write(folder.path().join(name), sql).expect("it can be written")
        };
        for migration in &contents.migrations {
            write(&migration.file_name(), &migration.sql);
        }
        for (name, sql) in migrations {
            write(name, &format!("-- airhost: expand\n{sql}\n"));
        }
        contents.migrations = Migration::load(folder.path()).expect("the migrations are valid");
    }
    Artifact::pack(artifact.bytes(), &contents).expect("it can be packed")
}
