//! The manifests and event schemas of this repository, held against one another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use airhost_manifest::{Manifest, Topic};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The manifests of the components; a service whose component is not there yet has its manifest
/// beside this test.
fn manifests() -> BTreeMap<String, Manifest> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services");
    let staged = paths(&here).into_iter();
    let components = paths(&repository().join("components"));
    let components = components.into_iter().map(|folder| folder.join("service.toml"));
    let mut manifests = BTreeMap::new();
    for path in staged.chain(components.filter(|path| path.exists())) {
        let manifest = Manifest::load(&path).unwrap_or_else(|error| panic!("{error}"));
        manifests.insert(manifest.name.to_string(), manifest);
    }
    manifests
}

fn schemas() -> BTreeMap<Topic, Value> {
    let folder = repository().join("wit/events/schemas");
    let read = |path: PathBuf| {
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some("json"), "{}", path.display());
        let topic = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let schema = serde_json::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (topic, schema)
    };
    paths(&folder).into_iter().map(read).collect()
}

#[test]
fn components_have_manifests_that_are_theirs() {
    for folder in paths(&repository().join("components")) {
        let path = folder.join("service.toml");
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if path.exists() && !name.starts_with('_') {
            let manifest = Manifest::load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(manifest.name.as_str(), name);
        }
    }
}

#[test]
fn services_fit_one_another() {
    let manifests = manifests();
    let expect = [
        ("api-gateway", 8000),
        ("rate-limiter-service", 8002),
        ("auth-service", 8010),
        ("user-service", 8011),
        ("permission-service", 8012),
        ("airtable-connector", 8020),
    ];
    for (name, port) in expect {
        assert_eq!(manifests[name].port, port, "{name}");
    }
    let mut ports = BTreeSet::new();
    let mut databases = BTreeSet::new();
    for (name, manifest) in &manifests {
        assert!(ports.insert(manifest.port), "{name}: port {} is taken", manifest.port);
        if let Some(database) = &manifest.stores.sql {
            assert!(databases.insert(database), "{name}: {database} is another service's");
        } else {
            assert_eq!(name, "api-gateway", "every other service has a database");
        }
    }
}

#[test]
fn every_topic_that_is_published_has_a_schema() {
    let schemas = schemas();
    for (name, manifest) in &manifests() {
        for topic in &manifest.events.out {
            assert!(schemas.contains_key(topic), "{name} publishes {topic}");
        }
        for subscription in &manifest.events.incoming {
            assert!(schemas.contains_key(&subscription.topic), "{name}: {}", subscription.topic);
        }
    }
}

#[test]
fn schemas_are_complete_and_their_examples_fit() {
    let schemas = schemas();
    assert!(schemas.len() >= 16);
    for (topic, schema) in &schemas {
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{topic}");
        assert_eq!(schema["$id"], format!("https://pyairtable.local/events/{topic}.json"), "{topic}");
        assert_eq!(schema["title"], topic.as_str());
        assert!(schema["description"].is_string(), "{topic}");
        assert_eq!(schema["type"], "object", "{topic}");
        assert_eq!(schema["additionalProperties"], true, "{topic} must be able to grow");
        let required = schema["required"].as_array().unwrap();
        for name in ["tenant_id", "at"] {
            assert!(required.contains(&name.into()), "{topic} needs {name}");
        }
        let examples = schema["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{topic}");
        for example in examples {
            check(schema, example, topic.as_str());
            for name in required {
                let mut short = example.clone();
                short.as_object_mut().unwrap().remove(name.as_str().unwrap());
                assert!(!fits(schema, &short), "{topic}: {name} is required");
            }
        }
    }
}

fn check(schema: &Value, value: &Value, path: &str) {
    assert!(fits(schema, value), "{path}: {value} does not fit");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(
            property["description"].is_string(),
            "{path}.{name} has no description"
        );
        if let Some(member) = value.get(name) {
            check(property, member, &format!("{path}.{name}"));
        }
    }
}

/// The words of JSON Schema that the schemas here are written in.
fn fits(schema: &Value, value: &Value) -> bool {
    const KNOWN: [&str; 14] = [
        "$schema", "$id", "title", "description", "examples", "type", "properties", "required",
        "additionalProperties", "enum", "format", "items", "minimum", "maximum",
    ];
    let schema = schema.as_object().unwrap();
    for word in schema.keys() {
        assert!(KNOWN.contains(&&**word), "`{word}` is not checked here");
    }
    let types = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &str| match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    };
    let member = |name: &Value| value.get(name.as_str().unwrap()).is_some();
    let list = |word: &str| schema.get(word).and_then(Value::as_array);
    let format = match (schema.get("format").and_then(Value::as_str), value.as_str()) {
        (Some("date-time"), Some(text)) => text.len() >= 20 && text.ends_with('Z') && text[10..].starts_with('T'),
        (Some("uuid"), Some(text)) => text.len() == 36 && text.matches('-').count() == 4,
        (Some("email"), Some(text)) => text.contains('@'),
        (None, _) | (_, None) => true,
        (Some(other), _) => panic!("{other} is not checked here"),
    };
    let bound = |word: &str| schema.get(word).and_then(Value::as_f64).zip(value.as_f64());
    types.iter().any(|kind| is(kind))
        && list("required").is_none_or(|names| names.iter().all(member))
        && list("enum").is_none_or(|values| values.contains(value))
        && bound("minimum").is_none_or(|(low, value)| value >= low)
        && bound("maximum").is_none_or(|(high, value)| value <= high)
        && format
}
