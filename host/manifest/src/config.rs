use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::suggest::nearest;

/// The configuration of a service: the manifest's `[config]`, with what the operator set over it.
/// The defaults' types are the schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Config(pub(crate) BTreeMap<String, Value>);

/// A value of the operator does not fit the manifest's `[config]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config `{path}`: {reason}")]
pub struct ConfigError {
    /// The key, with points between the parts of nested ones.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Config {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With the operator's values over the defaults. Tables are laid over one another key by key,
    /// everything else is replaced.
    ///
    /// # Errors
    /// Every value that has another type than its default, and every key that has none.
    pub fn with_overrides(&self, overrides: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        let mut result = self.clone();
        let mut errors = Vec::new();
        for (key, value) in overrides {
            match result.0.get_mut(key) {
                Some(default) => lay_over(key, default, value, &mut errors),
                None => errors.push(unknown(key, key, self.0.keys().map(String::as_str))),
            }
        }
        if errors.is_empty() { Ok(result) } else { Err(errors) }
    }

    /// The JSON Schema (2020-12) of what an operator may set.
    #[must_use]
    pub fn schema(&self) -> Value {
        let properties = self.0.iter().map(|(key, value)| (key.clone(), schema_of(value)));
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties.collect::<Map<_, _>>(),
            "additionalProperties": false,
        })
    }

    /// As JSON text with sorted keys: the same for the same values.
    #[must_use]
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::from("{");
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            text.push_str(&format!("{comma}{}:{}", Value::from(key.as_str()), sorted(value)));
        }
        text.push('}');
        text
    }
}

/// The value with the keys of its tables in order, since maps keep the order of insertion.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn lay_over(path: &str, into: &mut Value, value: &Value, errors: &mut Vec<ConfigError>) {
    if let (Value::Object(defaults), Value::Object(values)) = (&mut *into, value) {
        if defaults.is_empty() {
            defaults.clone_from(values);
            return;
        }
        for (key, value) in values {
            let path = format!("{path}.{key}");
            match defaults.get_mut(key) {
                Some(default) => lay_over(&path, default, value, errors),
                None => errors.push(unknown(&path, key, defaults.keys().map(String::as_str))),
            }
        }
        return;
    }
    match mismatch(into, value) {
        Some((want, is)) => errors.push(ConfigError {
            path: path.to_owned(),
            reason: format!("must be {want} like its default, not {is}"),
        }),
        // A default of 1.0 stays a number with a point, so that the next override may be one too.
        None if into.is_f64() => *into = value.as_f64().map_or(Value::Null, Value::from),
        None => *into = value.clone(),
    }
}

/// What is wanted and what is there, where they differ in type.
fn mismatch(default: &Value, value: &Value) -> Option<(&'static str, &'static str)> {
    let (want, is) = (type_of(default), type_of(value));
    match (default, value) {
        (Value::Array(defaults), Value::Array(values)) => {
            let first = defaults.first()?;
            values.iter().find_map(|value| mismatch(first, value))
        }
        _ if want == is || (want == "number" && is == "integer") => None,
        _ => Some((describe(want), describe(is))),
    }
}

fn unknown<'k>(path: &str, key: &str, known: impl Iterator<Item = &'k str>) -> ConfigError {
    let reason = match nearest(key, known) {
        Some(meant) => format!("there is no such key; did you mean `{meant}`?"),
        None => "there is no such key in the manifest's [config]".to_owned(),
    };
    ConfigError { path: path.to_owned(), reason }
}

/// The type as JSON Schema names it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn describe(kind: &'static str) -> &'static str {
    match kind {
        "null" => "null",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "string" => "a text",
        "array" => "a list",
        _ => "a table",
    }
}

fn schema_of(value: &Value) -> Value {
    let mut schema = json!({ "type": type_of(value), "default": value });
    match value {
        Value::Array(items) => {
            if let Some(first) = items.first() {
                schema["items"] = json!({ "type": type_of(first) });
            }
        }
        Value::Object(map) if !map.is_empty() => {
            let properties = map.iter().map(|(key, value)| (key.clone(), schema_of(value)));
            schema["properties"] = Value::Object(properties.collect());
            schema["additionalProperties"] = Value::Bool(false);
        }
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        let value = json!({
            "ttl": 900, "ratio": 0.5, "issuer": "https://a", "on": true,
            "models": ["a"], "limits": { "free": 10, "paid": 100 }, "open": {}
        });
        let Value::Object(map) = value else { unreachable!() };
        Config(map.into_iter().collect())
    }

    fn check(overrides: Value) -> Result<Config, String> {
        let Value::Object(map) = overrides else { unreachable!() };
        defaults()
            .with_overrides(&map)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn overrides_keep_the_types_of_the_defaults() {
        let config = check(json!({
            "ttl": 60, "ratio": 1, "limits": { "free": 5 }, "open": { "any": [1] }, "models": []
        }))
        .unwrap();
        assert_eq!(config.get("ttl"), Some(&json!(60)));
        assert_eq!(config.get("ratio"), Some(&json!(1.0)));
        assert_eq!(config.get("limits"), Some(&json!({ "free": 5, "paid": 100 })));
        assert_eq!(config.get("open"), Some(&json!({ "any": [1] })));
        assert_eq!(config.get("issuer"), Some(&json!("https://a")));
        for (overrides, expect) in [
            (
                json!({ "ttl": "60" }),
                "config `ttl`: must be a whole number like its default, not a text",
            ),
            (
                json!({ "ttl": 1.5 }),
                "config `ttl`: must be a whole number like its default, not a number",
            ),
            (json!({ "tll": 1 }), "config `tll`: there is no such key; did you mean `ttl`?"),
            (
                json!({ "models": [1] }),
                "config `models`: must be a text like its default, not a whole number",
            ),
            (
                json!({ "limits": { "x": 1 } }),
                "config `limits.x`: there is no such key in the manifest's [config]",
            ),
            (
                json!({ "on": null }),
                "config `on`: must be true or false like its default, not null",
            ),
        ] {
            assert_eq!(check(overrides), Err(expect.to_owned()));
        }
    }

    #[test]
    fn the_schema_says_what_may_be_set() {
        let schema = defaults().schema();
        assert_eq!(schema["properties"]["ttl"], json!({ "type": "integer", "default": 900 }));
        assert_eq!(schema["properties"]["models"]["items"], json!({ "type": "string" }));
        assert_eq!(schema["properties"]["limits"]["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["open"].get("additionalProperties"), None);
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn canonical_text_does_not_depend_on_the_order() {
        let a = Config(BTreeMap::from([(
            "k".to_owned(),
            json!({ "a": 1, "b": [{ "c": 1, "d": 2 }] }),
        )]));
        let b = Config(BTreeMap::from([(
            "k".to_owned(),
            json!({ "b": [{ "d": 2, "c": 1 }], "a": 1 }),
        )]));
        assert_eq!(a.canonical(), b.canonical());
        assert_eq!(a.canonical(), r#"{"k":{"a":1,"b":[{"c":1,"d":2}]}}"#);
    }
}
