//! One OpenAPI document of many.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Puts the documents of services together. A schema or operation of a name that another service
/// has taken for something else gets its service's name before its own.
pub(crate) fn merge(documents: Vec<(String, Value)>, version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas: Map<String, Value> = Map::new();
    let mut security: Map<String, Value> = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    let mut operations: Vec<String> = Vec::new();
    for (service, mut document) in documents {
        let own = take_object(document.pointer_mut("/components/schemas"));
        let renamed = rename(&service, &own, &schemas);
        for (name, mut schema) in own {
            point(&mut schema, &renamed);
            let name = renamed.get(&name).cloned().unwrap_or(name);
            schemas.entry(name).or_insert(schema);
        }
        for (name, scheme) in take_object(document.pointer_mut("/components/securitySchemes")) {
            security.entry(name).or_insert(scheme);
        }
        for tag in document.get("tags").and_then(Value::as_array).into_iter().flatten() {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        for (path, mut item) in take_object(document.pointer_mut("/paths")) {
            // No route of the gateway leads there.
            if path.starts_with("/internal/") {
                continue;
            }
            point(&mut item, &renamed);
            name_operations(&mut item, &service, &mut operations);
            let Value::Object(item) = item else { continue };
            if let Value::Object(known) = paths.entry(path).or_insert_with(|| json!({})) {
                for (method, operation) in item {
                    known.entry(method).or_insert(operation);
                }
            }
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "PyAirtable",
            "version": version,
            "description": "All that clients can ask through the gateway.",
        },
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security},
    })
}

/// New names for the schemas that are not what others have under theirs, be it themselves or
/// through what they refer to.
fn rename(
    service: &str,
    own: &Map<String, Value>,
    known: &Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut renamed = BTreeMap::new();
    loop {
        let before = renamed.len();
        for (name, schema) in own {
            let other = known.get(name).is_some_and(|known| known != schema);
            if other || (known.contains_key(name) && refers(schema, &renamed)) {
                renamed.insert(name.clone(), format!("{service}.{name}"));
            }
        }
        if renamed.len() == before {
            return renamed;
        }
    }
}

/// Whether there is a reference to something that is renamed.
fn refers(value: &Value, renamed: &BTreeMap<String, String>) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => {
                target(reference).is_some_and(|name| renamed.contains_key(name))
            }
            value => refers(value, renamed),
        }),
        Value::Array(values) => values.iter().any(|value| refers(value, renamed)),
        _ => false,
    }
}

/// The schema that a reference names.
fn target(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/components/schemas/")
}

fn take_object(value: Option<&mut Value>) -> Map<String, Value> {
    match value.map(Value::take) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Makes references follow what was renamed.
fn point(value: &mut Value, renamed: &BTreeMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "$ref"
                    && let Value::String(reference) = value
                {
                    if let Some(to) = target(reference).and_then(|name| renamed.get(name)) {
                        *reference = format!("#/components/schemas/{to}");
                    }
                } else {
                    point(value, renamed);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| point(value, renamed)),
        _ => {}
    }
}

/// Operation ids are one of a kind in a document.
fn name_operations(item: &mut Value, service: &str, taken: &mut Vec<String>) {
    let Value::Object(item) = item else { return };
    for operation in item.values_mut() {
        let Some(Value::String(id)) = operation.get_mut("operationId") else { continue };
        if taken.contains(id) {
            *id = format!("{service}.{id}");
        }
        taken.push(id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, schema: Value) -> Value {
        json!({
            "tags": [{"name": "items"}],
            "paths": {path: {"get": {
                "operationId": "list",
                "responses": {"200": {"schema": {"$ref": "#/components/schemas/Item"}}},
            }}},
            "components": {
                "schemas": {"Item": schema, "Problem": {"type": "object"}},
                "securitySchemes": {"bearer": {"type": "http"}},
            },
        })
    }

    #[test]
    fn names_of_two_services_do_not_meet() {
        let merged = merge(
            vec![
                ("a".to_owned(), document("/a", json!({"type": "string"}))),
                ("b".to_owned(), document("/b", json!({"type": "integer"}))),
                ("c".to_owned(), document("/c", json!({"type": "string"}))),
            ],
            "1.0.0",
        );
        let schema =
            |path: &str| merged["paths"][path]["get"]["responses"]["200"]["schema"]["$ref"].clone();
        assert_eq!(schema("/a"), "#/components/schemas/Item");
        assert_eq!(schema("/b"), "#/components/schemas/b.Item");
        assert_eq!(schema("/c"), "#/components/schemas/Item");
        assert_eq!(merged["components"]["schemas"]["b.Item"]["type"], "integer");
        assert_eq!(merged["components"]["schemas"].as_object().unwrap().len(), 3);
        assert_eq!(merged["paths"]["/b"]["get"]["operationId"], "b.list");
        assert_eq!(merged["tags"], json!([{"name": "items"}]));
    }

    #[test]
    fn what_refers_to_a_renamed_schema_is_another_too() {
        let of = |ty: &str| {
            json!({"paths": {}, "components": {"schemas": {
                "Item": {"type": ty},
                "Page": {"items": {"$ref": "#/components/schemas/Item"}},
                "Book": {"pages": [{"$ref": "#/components/schemas/Page"}]},
            }}})
        };
        let merged =
            merge(vec![("a".to_owned(), of("string")), ("b".to_owned(), of("integer"))], "1");
        let schemas = &merged["components"]["schemas"];
        assert_eq!(schemas["Page"]["items"]["$ref"], "#/components/schemas/Item");
        assert_eq!(schemas["b.Page"]["items"]["$ref"], "#/components/schemas/b.Item");
        assert_eq!(schemas["b.Book"]["pages"][0]["$ref"], "#/components/schemas/b.Page");
    }

    #[test]
    fn what_services_have_among_themselves_is_left_out() {
        let merged = merge(
            vec![("a".to_owned(), json!({"paths": {"/internal/v1/a": {}, "/api/v1/a": {}}}))],
            "1",
        );
        assert_eq!(merged["paths"], json!({"/api/v1/a": {}}));
    }

    #[test]
    fn what_is_no_document_adds_nothing() {
        let merged = merge(vec![("a".to_owned(), json!([1])), ("b".to_owned(), json!({}))], "1");
        assert_eq!(merged["paths"], json!({}));
    }
}
