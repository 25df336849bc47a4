use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use airhost_core::codes;
use serde_json::Value;

use crate::{
    Artifact, ArtifactError, Contents, Manifest, ManifestError, Migration, MigrationError, Topic,
};

/// A document beside the manifest is at most so many bytes.
const MAX_DOCUMENT: u64 = 4 << 20;

/// A component folder cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// `service.toml`.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// `migrations/`: every fault, one a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Migrations(Vec<MigrationError>),
    /// Migrations and no database to run them on.
    #[error("{}: there are migrations, but no database; add `sql = \"...\"` under [stores]", .0.display())]
    NoDatabase(PathBuf),
    /// A document that is not JSON or not what it should be.
    #[error("{}: {reason}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The component.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl From<PackageError> for airhost_core::Error {
    fn from(error: PackageError) -> Self {
        match error {
            PackageError::Manifest(error) => error.into(),
            PackageError::Artifact(error) => error.into(),
            PackageError::Migrations(_) => codes::DEPLOY_MIGRATION.error(error.to_string()),
            PackageError::NoDatabase(_) | PackageError::Document { .. } => {
                codes::DEPLOY_MANIFEST.error(error.to_string())
            }
        }
    }
}

/// The artifact of a component folder: `service.toml`, `migrations/`, `openapi.json` if it is
/// there, and for each topic in `events.out` its schema in `schemas`, packed into the component.
///
/// # Errors
/// What is missing or wrong, with its file.
pub fn package(folder: &Path, schemas: &Path, component: &[u8]) -> Result<Vec<u8>, PackageError> {
    let contents = Contents::load(folder, schemas, &|_| None)?;
    let file = Artifact::pack(component, &contents)?;
    Artifact::from_bytes(&file)?;
    Ok(file)
}

impl Contents {
    /// What a component folder and a folder of event schemas say. A topic without a schema in the
    /// folder has the one that `known` answers: those of the contracts, where these are not.
    ///
    /// # Errors
    /// As [`package`].
    pub fn load(
        folder: &Path,
        schemas: &Path,
        known: &dyn Fn(&Topic) -> Option<Value>,
    ) -> Result<Self, PackageError> {
        let manifest = Manifest::load(&folder.join("service.toml"))?;
        let migrations_folder = folder.join("migrations");
        let migrations = Migration::load(&migrations_folder).map_err(PackageError::Migrations)?;
        if !migrations.is_empty() && manifest.stores.sql.is_none() {
            return Err(PackageError::NoDatabase(migrations_folder));
        }
        let openapi = document(&folder.join("openapi.json"))?;
        let mut event_schemas = BTreeMap::new();
        for topic in &manifest.events.out {
            event_schemas.insert(topic.clone(), schema(schemas, topic, known)?);
        }
        Ok(Self { manifest, migrations, openapi, event_schemas })
    }
}

fn schema(
    folder: &Path,
    topic: &Topic,
    known: &dyn Fn(&Topic) -> Option<Value>,
) -> Result<Value, PackageError> {
    let path = folder.join(format!("{topic}.json"));
    let fail = |reason| PackageError::Document { path: path.clone(), reason };
    let missing =
        || fail(format!("`{topic}` is in `out` of [events] and has no schema; write one here"));
    let schema = document(&path)?.or_else(|| known(topic)).ok_or_else(missing)?;
    if schema["$schema"].is_string() && schema["type"] == "object" {
        Ok(schema)
    } else {
        Err(fail("a schema of events has `$schema` and `\"type\": \"object\"`".to_owned()))
    }
}

/// A JSON file; none if there is no such file.
fn document(path: &Path) -> Result<Option<Value>, PackageError> {
    let fail = |reason| PackageError::Document { path: path.to_owned(), reason };
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    if size > MAX_DOCUMENT {
        return Err(fail(format!("the file has more than {} MiB", MAX_DOCUMENT >> 20)));
    }
    let bytes = fs::read(path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{artifact::tests::http_service, manifest::testing::HEAD};

    const LINES: &str = "stores.sql = 'a_db'\nevents.out = ['a.b']";
    const MIGRATION: (&str, &str) =
        ("migrations/0001_a.sql", "-- airhost: expand\nCREATE TABLE a (id uuid);\n");
    const SCHEMA: (&str, &str) = ("schemas/a.b.json", r#"{ "$schema": "x", "type": "object" }"#);

    /// Packs a folder of these files; the fault without the folder's path.
    fn pack(lines: &str, files: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        for part in ["migrations", "schemas"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        fs::write(folder.path().join("service.toml"), format!("{HEAD}{lines}")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let prefix = format!("{}/", folder.path().display());
        package(folder.path(), &folder.path().join("schemas"), http_service())
            .map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn a_folder_becomes_one_file() {
        let openapi = ("openapi.json", r#"{ "openapi": "3.0.3", "paths": {} }"#);
        let file = pack(LINES, &[MIGRATION, SCHEMA, openapi]).unwrap();
        let artifact = Artifact::from_bytes(&file).unwrap();
        assert_eq!(artifact.migrations()[0].name, "a");
        assert_eq!(artifact.event_schemas()["a.b"]["type"], "object");
        assert_eq!(artifact.openapi().unwrap()["openapi"], "3.0.3");
        assert_eq!(file, pack(LINES, &[MIGRATION, SCHEMA, openapi]).unwrap());
        assert!(pack("", &[]).is_ok());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_file() {
        for (lines, files, expect) in [
            ("memry = 1", &[][..], "service.toml:6:1: unknown key `memry` at the top level"),
            (
                LINES,
                &[],
                "schemas/a.b.json: `a.b` is in `out` of [events] and has no schema; write one here",
            ),
            (LINES, &[("schemas/a.b.json", "{}")], "schemas/a.b.json: a schema of events has"),
            (LINES, &[("schemas/a.b.json", "{")], "schemas/a.b.json: EOF while parsing"),
            ("", &[MIGRATION], "migrations: there are migrations, but no database; add `sql"),
            (
                LINES,
                &[SCHEMA, ("migrations/1.sql", "")],
                "migrations/1.sql:1: a migration is named",
            ),
            ("", &[("openapi.json", "{}")], "section `airhost:openapi`: an OpenAPI document has"),
        ] {
            let error = pack(lines, files).unwrap_err();
            assert!(error.starts_with(expect), "{error} / {expect}");
        }
    }
}
