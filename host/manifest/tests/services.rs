//! The manifests and event schemas of this repository, held against one another.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The manifests of the components.
fn manifests() -> BTreeMap<String, Manifest> {
    let components = paths(&repository().join("components"));
    let components = components.into_iter().map(|folder| folder.join("service.toml"));
    let mut manifests = BTreeMap::new();
    for path in components.filter(|path| path.exists()) {
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
        assert_eq!(
            schema["$id"],
            format!("https://pyairtable.local/events/{topic}.json"),
            "{topic}"
        );
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
        check_descriptions(schema, topic.as_str());
        let validator = jsonschema::validator_for(schema).unwrap();
        for example in examples {
            assert!(validator.is_valid(example), "{topic}: {:?}", validator.validate(example));
            for name in required {
                let mut short = example.clone();
                short.as_object_mut().unwrap().remove(name.as_str().unwrap());
                assert!(!validator.is_valid(&short), "{topic}: {name} is required");
            }
        }
    }
}

/// Every member says what it is.
fn check_descriptions(schema: &Value, path: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        assert!(property["description"].is_string(), "{path} has no description");
        check_descriptions(property, &path);
        check_descriptions(&property["items"], &path);
    }
}
