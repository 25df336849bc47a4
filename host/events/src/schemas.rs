//! The schema registry: what the data of each topic must look like.

use std::{collections::BTreeMap, path::Path};

use airhost_core::{Error, Result, codes};
use jsonschema::Validator;
use serde_json::Value;

/// JSON Schemas by topic, compiled once.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<String, Schema>);

#[derive(Debug)]
struct Schema {
    uri: String,
    validator: Validator,
}

/// Why schemas cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemasError {
    /// The folder or a file in it cannot be read.
    #[error("the schemas in {path} cannot be read")]
    Read {
        /// The folder or file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A text is not JSON, or not a JSON Schema.
    #[error("the schema of {topic} is not valid: {reason}")]
    Invalid {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}

impl Schemas {
    /// Compiles schemas given as JSON texts by topic. References must lie within the same text.
    ///
    /// # Errors
    /// The first text that is not a JSON Schema.
    pub fn compile<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SchemasError> {
        let mut schemas = BTreeMap::new();
        for (topic, text) in texts {
            let invalid =
                |reason: String| SchemasError::Invalid { topic: topic.to_owned(), reason };
            let json: Value =
                serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
            let uri = json
                .get("$id")
                .and_then(Value::as_str)
                .map_or_else(|| format!("urn:pyairtable:event:{topic}"), str::to_owned);
            let validator =
                jsonschema::validator_for(&json).map_err(|error| invalid(error.to_string()))?;
            schemas.insert(topic.to_owned(), Schema { uri, validator });
        }
        Ok(Self(schemas))
    }

    /// Compiles the files `<topic>.json` of a folder.
    ///
    /// # Errors
    /// The first file that cannot be read or is not a JSON Schema.
    pub fn load(folder: &Path) -> Result<Self, SchemasError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            |source| SchemasError::Read { path, source }
        };
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            let Some(topic) = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".json"))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            texts.push((topic.to_owned(), text));
        }
        Self::compile(texts.iter().map(|(topic, text)| (topic.as_str(), text.as_str())))
    }

    /// URI of a topic's schema: its `$id`, or a URN made of the topic.
    #[must_use]
    pub fn uri(&self, topic: &str) -> Option<&str> {
        self.0.get(topic).map(|schema| schema.uri.as_str())
    }

    /// Topics that have a schema.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Checks data against its topic's schema. A topic without a schema takes any JSON object.
    ///
    /// # Errors
    /// `events.schema` with the attribute `pointer` of the first member that does not fit. The
    /// message names no value of the data.
    pub fn check(&self, topic: &str, data: &str) -> Result<()> {
        let no_object = || codes::EVENTS_SCHEMA.error("an event's data is a JSON object");
        let Some(schema) = self.0.get(topic) else {
            return Ok(());
        };
        let value: Value = serde_json::from_str(data).map_err(|_| no_object())?;
        schema.validator.validate(&value).map_err(|error| mismatch(topic, &error))
    }
}

fn mismatch(topic: &str, error: &jsonschema::ValidationError<'_>) -> Error {
    let pointer = error.instance_path().to_string();
    let place = if pointer.is_empty() { "the data" } else { &pointer };
    codes::EVENTS_SCHEMA
        .error(format!("{place} does not fit the schema of {topic}: {}", error.masked()))
        .with("pointer", pointer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"{"$id":"https://schemas.example/user","type":"object","required":["email"],
        "properties":{"email":{"type":"string","minLength":3}},"additionalProperties":false}"#;

    #[test]
    fn data_is_checked_against_its_topics_schema() {
        let schemas = Schemas::compile([("user.registered", USER)]).expect("compiled");
        assert_eq!(schemas.uri("user.registered"), Some("https://schemas.example/user"));
        assert_eq!(schemas.uri("other"), None);
        for (topic, data, pointer) in [
            ("user.registered", r#"{"email":"a@b"}"#, None),
            ("other", r#"{"anything":1}"#, None),
            ("user.registered", r#"{"email":5}"#, Some("/email")),
            ("user.registered", r#"{"email":"a@b","secretvalue":1}"#, Some("")),
            ("user.registered", "{}", Some("")),
        ] {
            match (schemas.check(topic, data), pointer) {
                (Ok(()), None) => {}
                (Err(error), Some(pointer)) => {
                    assert_eq!(error.code, "events.schema");
                    assert_eq!(error.attrs, [("pointer".to_owned(), pointer.to_owned())]);
                }
                (result, _) => panic!("{data}: {result:?}"),
            }
        }
        let error = schemas.check("user.registered", r#"{"email":"zq"}"#).expect_err("too short");
        assert!(!error.message.contains("zq"), "{}", error.message);
    }

    #[test]
    fn a_folder_is_loaded_whole_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
        write("user.registered.json", USER);
        write("README.md", "not a schema");
        let schemas = Schemas::load(folder.path()).expect("loaded");
        assert_eq!(schemas.topics().collect::<Vec<_>>(), ["user.registered"]);
        write("broken.json", r#"{"type":5}"#);
        assert!(
            matches!(Schemas::load(folder.path()), Err(SchemasError::Invalid { topic, .. }) if topic == "broken")
        );
        assert!(matches!(
            Schemas::load(&folder.path().join("none")),
            Err(SchemasError::Read { .. })
        ));
    }
}
