//! What a component imports and exports, from its own binary.

use std::fmt;

use semver::Version;
use wasmparser::{
    Parser, Payload, Validator, WasmFeatures, component_types::ComponentEntityType, types::TypesRef,
};

use super::ArtifactError;

/// Imports or exports of a component are at most so many.
const MAX_NAMES: usize = 1_000;

/// The name of an import or export.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName {
    /// The full id without version, `pyairtable:storage/sql`, or a plain name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<Version>,
}

/// Something that a component imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its name.
    pub interface: InterfaceName,
    /// Whether it brings types and no function: no capability, and no grant needed.
    pub types_only: bool,
}

impl InterfaceName {
    /// Reads `pyairtable:storage/sql@0.1.0`. What is no version stays in the name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let versioned = text
            .rsplit_once('@')
            .and_then(|(name, version)| Some((name, Version::parse(version).ok()?)));
        match versioned {
            Some((name, version)) => Self { name: name.to_owned(), version: Some(version) },
            None => Self { name: text.to_owned(), version: None },
        }
    }

    /// Whether a host that offers `offered` can stand in for this import: the same name, no older,
    /// and of the same major version (before 1.0: the same minor one). WASI 0.2 is one version in
    /// this regard, whatever its patch.
    #[must_use]
    pub fn is_served_by(&self, offered: &Self) -> bool {
        if self.name != offered.name {
            return false;
        }
        match (&self.version, &offered.version) {
            (Some(asked), Some(offered)) => {
                let track = |v: &Version| (v.major, if v.major == 0 { v.minor } else { 0 });
                track(asked) == track(offered)
                    && (self.name.starts_with("wasi:") || offered >= asked)
            }
            (asked, offered) => asked == offered,
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Imports and exports of a component whose types are valid.
pub(super) fn interfaces(bytes: &[u8]) -> Result<(Vec<Import>, Vec<InterfaceName>), ArtifactError> {
    let damaged = |error: wasmparser::Error| {
        ArtifactError::damaged(format!("{} at byte {}", error.message(), error.offset()))
    };
    // A proposal that the host's engine does not have on is for the engine to refuse by name.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut imported, mut exported) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    let mut interfaces = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(damaged)?;
        let outermost = depth == 0;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::ComponentImportSection(section) if outermost => {
                for import in section.clone() {
                    imported.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if outermost => {
                for export in section.clone() {
                    exported.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::End(_) if outermost => {
                let types = validator
                    .types(0)
                    .ok_or_else(|| ArtifactError::damaged("it has no component".to_owned()))?;
                let import = |name: &String| Import {
                    interface: InterfaceName::new(name),
                    types_only: is_types_only(&types, name),
                };
                let imports: Vec<Import> = imported.iter().map(import).collect();
                let exports: Vec<_> = exported.iter().map(|n| InterfaceName::new(n)).collect();
                interfaces = Some((imports, exports));
            }
            Payload::End(_) => depth -= 1,
            _ => {}
        }
        validator.payload(&payload).map_err(damaged)?;
        if imported.len().max(exported.len()) > MAX_NAMES {
            let reason = format!("it imports or exports more than {MAX_NAMES} names");
            return Err(ArtifactError::damaged(reason));
        }
    }
    interfaces.ok_or_else(|| ArtifactError::damaged("it does not end".to_owned()))
}

fn is_types_only(types: &TypesRef<'_>, name: &str) -> bool {
    match types.component_item_for_import(name).map(|item| item.ty) {
        Some(ComponentEntityType::Instance(id)) => types[id]
            .exports
            .values()
            .all(|item| matches!(item.ty, ComponentEntityType::Type { .. })),
        Some(ComponentEntityType::Type { .. }) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_hosts_serve_older_imports_of_the_same_track() {
        for (asked, offered, expect) in [
            ("p:a/b@0.1.0", "p:a/b@0.1.0", true),
            ("p:a/b@0.1.0", "p:a/b@0.1.2", true),
            ("p:a/b@0.1.2", "p:a/b@0.1.0", false),
            ("p:a/b@0.1.0", "p:a/b@0.2.0", false),
            ("p:a/b@1.1.0", "p:a/b@1.4.0", true),
            ("p:a/b@1.4.0", "p:a/b@2.0.0", false),
            ("p:a/b", "p:a/b", true),
            ("p:a/b", "p:a/b@0.1.0", false),
            ("p:a/c@0.1.0", "p:a/b@0.1.0", false),
            ("wasi:io/streams@0.2.9", "wasi:io/streams@0.2.3", true),
            ("wasi:io/streams@0.3.0", "wasi:io/streams@0.2.3", false),
        ] {
            let (asked, offered) = (InterfaceName::new(asked), InterfaceName::new(offered));
            assert_eq!(asked.is_served_by(&offered), expect, "{asked} by {offered}");
        }
    }
}
