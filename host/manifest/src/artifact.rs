//! The component file that carries everything.

mod check;
mod component;
mod error;
mod sections;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use airhost_core::Revision;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{CONTRACT, Config, Manifest, Migration, Topic, migration::check_order};

pub use check::Finding;
pub use component::{Import, InterfaceName};
pub use error::ArtifactError;

/// A component file is at most so many bytes.
pub const MAX_FILE: usize = 256 << 20;

const BUILD: &str = "airhost:build";
const MANIFEST: &str = "airhost:manifest";
const MIGRATIONS: &str = "airhost:migrations";
const OPENAPI: &str = "airhost:openapi";
const EVENT_SCHEMAS: &str = "airhost:event-schemas";
const CONFIG_SCHEMA: &str = "airhost:config-schema";

/// A component with its manifest, migrations, API and schemas, checked.
///
/// They are custom sections at the beginning of the file. The first of them, `airhost:build`,
/// has size and digest of all that follows, so that a file that was cut off or changed anywhere
/// is told from one that was never complete.
#[derive(Clone, Debug)]
pub struct Artifact {
    bytes: Bytes,
    build: Build,
    contents: Contents,
    imports: Vec<Import>,
    exports: Vec<InterfaceName>,
}

/// What is packed with a component.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The manifest.
    pub manifest: Manifest,
    /// The migrations of its database, in order.
    pub migrations: Vec<Migration>,
    /// Its API, OpenAPI 3.0.
    pub openapi: Option<Value>,
    /// JSON Schemas of the events it publishes.
    pub event_schemas: BTreeMap<Topic, Value>,
}

/// Who packed an artifact. Nothing in it depends on where or when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Build {
    /// Version of the tool that packed it.
    pub builder: String,
    /// Version of the contracts that the tool knew.
    pub contract: String,
    /// Bytes after this section.
    bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    sha256: String,
}

impl Contents {
    /// A manifest and nothing else.
    #[must_use]
    pub fn of(manifest: Manifest) -> Self {
        Self { manifest, migrations: Vec::new(), openapi: None, event_schemas: BTreeMap::new() }
    }
}

impl Artifact {
    /// Reads and checks a file. It is hashed and its types are validated; function bodies are
    /// left to the compiler.
    ///
    /// # Errors
    /// What the file is instead, or where it is damaged; see [`ArtifactError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtifactError> {
        Self::from_shared(Bytes::copy_from_slice(bytes))
    }

    /// As [`Artifact::from_bytes`], without a copy.
    ///
    /// # Errors
    /// As [`Artifact::from_bytes`].
    pub fn from_shared(bytes: Bytes) -> Result<Self, ArtifactError> {
        let carried = Carried::read(&bytes)?;
        if let Some(carried) = &carried {
            carried.check_digest(&bytes)?;
        }
        let (imports, exports) = component::interfaces(&bytes)?;
        let carried = carried.ok_or(ArtifactError::NoManifest)?;
        let contents = carried.contents()?;
        let build = carried.build;
        Ok(Self { bytes, build, contents, imports, exports })
    }

    /// An artifact of a component that knows nothing of this platform, or of another artifact
    /// whose manifest this one replaces; what else that carries is kept.
    ///
    /// # Errors
    /// As [`Artifact::from_bytes`].
    pub fn with_manifest(component: &[u8], manifest: Manifest) -> Result<Self, ArtifactError> {
        let contents = match Carried::read(component)? {
            Some(carried) => {
                carried.check_digest(component)?;
                Contents { manifest, ..carried.contents()? }
            }
            None => Contents::of(manifest),
        };
        Self::from_shared(Self::pack(component, &contents)?.into())
    }

    /// The file of a component and what it carries. What it carried before is replaced. The same
    /// input makes the same file.
    ///
    /// # Errors
    /// The file is no component, is damaged, or would carry more than can be read back.
    pub fn pack(component: &[u8], contents: &Contents) -> Result<Vec<u8>, ArtifactError> {
        let header = sections::header(component)?;
        let json = |name, value: Result<Vec<u8>, serde_json::Error>| {
            value.map_err(|error| ArtifactError::section(name, error.to_string()))
        };
        let Contents { manifest, migrations, openapi, event_schemas } = contents;
        let mut body = Vec::with_capacity(component.len() + (64 << 10));
        sections::append(&mut body, MANIFEST, manifest.to_toml().as_bytes())?;
        if !migrations.is_empty() {
            check_migrations(migrations)?;
            let data = json(MIGRATIONS, serde_json::to_vec(migrations))?;
            sections::append(&mut body, MIGRATIONS, &data)?;
        }
        if let Some(openapi) = openapi {
            check_openapi(openapi)?;
            sections::append(&mut body, OPENAPI, &json(OPENAPI, serde_json::to_vec(openapi))?)?;
        }
        if !event_schemas.is_empty() {
            let data = json(EVENT_SCHEMAS, serde_json::to_vec(event_schemas))?;
            sections::append(&mut body, EVENT_SCHEMAS, &data)?;
        }
        if !manifest.config.is_empty() {
            let data = json(CONFIG_SCHEMA, serde_json::to_vec(&manifest.config.schema()))?;
            sections::append(&mut body, CONFIG_SCHEMA, &data)?;
        }
        for section in sections::sections(component)? {
            if section.custom.is_none_or(|(name, _)| !name.starts_with("airhost:")) {
                body.extend_from_slice(component.get(section.range).unwrap_or_default());
            }
        }
        let build = Build {
            builder: env!("CARGO_PKG_VERSION").to_owned(),
            contract: CONTRACT.to_string(),
            bytes: body.len() as u64,
            sha256: hex::encode(Sha256::digest(&body)),
        };
        let mut file = header.to_vec();
        sections::append(&mut file, BUILD, &json(BUILD, serde_json::to_vec(&build))?)?;
        file.append(&mut body);
        if file.len() > MAX_FILE {
            return Err(ArtifactError::TooLarge { size: file.len() });
        }
        Ok(file)
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// The migrations of its database, in order.
    #[must_use]
    pub fn migrations(&self) -> &[Migration] {
        &self.contents.migrations
    }

    /// Its API, OpenAPI 3.0.
    #[must_use]
    pub fn openapi(&self) -> Option<&Value> {
        self.contents.openapi.as_ref()
    }

    /// JSON Schemas of the events it publishes.
    #[must_use]
    pub fn event_schemas(&self) -> &BTreeMap<Topic, Value> {
        &self.contents.event_schemas
    }

    /// Everything it carries.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Who packed it.
    #[must_use]
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// What the component imports, in the order of the file.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// What the component exports, in the order of the file.
    #[must_use]
    pub fn exports(&self) -> &[InterfaceName] {
        &self.exports
    }

    /// Whether an interface is exported, whatever its version: `pyairtable:service/lifecycle`.
    #[must_use]
    pub fn has_export(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| export.name == interface)
    }

    /// The revision that this file is with a configuration: that of the manifest with the
    /// operator's values over it ([`Config::with_overrides`]).
    #[must_use]
    pub fn revision(&self, config: &Config) -> Revision {
        Revision::of_parts(&[&self.bytes, config.canonical().as_bytes()])
    }
}

/// The sections of a file that are ours.
struct Carried<'b> {
    build: Build,
    /// Where `airhost:build` ends.
    body: usize,
    sections: BTreeMap<&'b str, &'b [u8]>,
}

impl<'b> Carried<'b> {
    /// None for a component that carries nothing.
    fn read(bytes: &'b [u8]) -> Result<Option<Self>, ArtifactError> {
        sections::header(bytes)?;
        // `airhost:build` comes first and knows how long the file should be, which makes a better
        // message than that some section ends too early.
        let first = sections::first(bytes)?;
        let build = match first.custom {
            Some((BUILD, data)) => Some((first.range.end, read_json::<Build>(BUILD, data)?)),
            _ => None,
        };
        if let Some((body, build)) = &build {
            let there = (bytes.len() - body) as u64;
            if there < build.bytes {
                return Err(ArtifactError::damaged(format!(
                    "{there} of {} bytes are there",
                    build.bytes
                )));
            }
        }
        let mut ours = BTreeMap::new();
        for section in sections::sections(bytes)? {
            let Some((name, data)) = section.custom else { continue };
            if name.starts_with("airhost:") && ours.insert(name, data).is_some() {
                return Err(ArtifactError::damaged(format!("`{name}` is there twice")));
            }
        }
        match build {
            Some((body, build)) => Ok(Some(Self { build, body, sections: ours })),
            None => match ours.keys().next() {
                Some(name) => {
                    Err(ArtifactError::damaged(format!("`{name}` is there without `{BUILD}`")))
                }
                None => Ok(None),
            },
        }
    }

    fn check_digest(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        let body = bytes.get(self.body..).unwrap_or_default();
        if body.len() as u64 != self.build.bytes
            || hex::encode(Sha256::digest(body)) != self.build.sha256
        {
            return Err(ArtifactError::damaged(
                "it is not what was packed: its digest differs".to_owned(),
            ));
        }
        Ok(())
    }

    fn contents(&self) -> Result<Contents, ArtifactError> {
        let text = self.sections.get(MANIFEST).ok_or(ArtifactError::NoManifest)?;
        let text = std::str::from_utf8(text)
            .map_err(|error| ArtifactError::section(MANIFEST, error.to_string()))?;
        let manifest = Manifest::parse(MANIFEST, text).map_err(ArtifactError::Manifest)?;
        let migrations: Vec<Migration> = self.json(MIGRATIONS)?.unwrap_or_default();
        check_migrations(&migrations)?;
        let openapi = self.json(OPENAPI)?;
        if let Some(openapi) = &openapi {
            check_openapi(openapi)?;
        }
        let event_schemas = self.json(EVENT_SCHEMAS)?.unwrap_or_default();
        Ok(Contents { manifest, migrations, openapi, event_schemas })
    }

    fn json<T: for<'de> Deserialize<'de>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ArtifactError> {
        self.sections.get(name).map(|data| read_json(name, data)).transpose()
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(
    name: &'static str,
    data: &[u8],
) -> Result<T, ArtifactError> {
    sections::check_size(name, data.len())?;
    serde_json::from_slice(data).map_err(|error| ArtifactError::section(name, error.to_string()))
}

fn check_migrations(migrations: &[Migration]) -> Result<(), ArtifactError> {
    if let Some(error) = check_order(migrations, "migrations").into_iter().next() {
        return Err(ArtifactError::section(MIGRATIONS, error.to_string()));
    }
    match migrations.iter().find(|migration| !migration.is_intact()) {
        Some(migration) => {
            let name = migration.file_name();
            Err(ArtifactError::section(MIGRATIONS, format!("`{name}` does not fit its digest")))
        }
        None => Ok(()),
    }
}

fn check_openapi(openapi: &Value) -> Result<(), ArtifactError> {
    if openapi["openapi"].is_string() && openapi["paths"].is_object() {
        return Ok(());
    }
    let reason = "an OpenAPI document has `openapi` and `paths`".to_owned();
    Err(ArtifactError::section(OPENAPI, reason))
}
