//! The OpenAPI 3.0.3 document, from the routes themselves.
//!
//! Nothing here runs while a request is answered: the host asks once for the document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    error::title_of,
    http::{Method, Route},
    schema::{Field, Rule, Tagging, Type, Union, VariantBody, plain},
    service::Service,
};

const JSON: &str = "application/json";

/// What is known of an operation; extractors and replies add to it.
#[derive(Debug)]
pub struct Operation {
    pattern: &'static str,
    parameters: Vec<Parameter>,
    request: Option<Content>,
    responses: BTreeMap<u16, Response>,
    errors: Vec<u16>,
    authenticated: bool,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    place: &'static str,
    description: &'static str,
    required: bool,
    ty: Type,
    rules: &'static [Rule],
    example: &'static str,
}

#[derive(Debug)]
enum Content {
    Typed(&'static str, Type),
    Raw(&'static str),
    Empty,
}

#[derive(Debug)]
struct Response {
    content: Content,
    headers: Vec<(&'static str, &'static str)>,
}

impl Operation {
    fn new(route: &Route) -> Self {
        let mut errors = route.errors.to_vec();
        errors.push(500);
        Self {
            pattern: route.pattern,
            parameters: Vec::new(),
            request: None,
            responses: BTreeMap::new(),
            errors,
            authenticated: false,
        }
    }

    fn fails(&mut self, statuses: &[u16]) {
        for status in statuses {
            if !self.errors.contains(status) {
                self.errors.push(*status);
            }
        }
    }

    /// The path's parameters have these types.
    pub fn path_parameters(&mut self, ty: Type) {
        self.fails(&[404]);
        let names: Vec<&str> = names_of(self.pattern).collect();
        if let Type::Object(object) = ty {
            for field in object.fields {
                if names.contains(&field.name) {
                    self.field_parameter("path", field);
                }
            }
        } else if let Type::Tuple(types) = ty {
            for (name, ty) in names.iter().zip(types) {
                self.parameter("path", name, ty());
            }
        } else if let Some(name) = names.first() {
            self.parameter("path", name, ty);
        }
    }

    /// One parameter without rules.
    pub fn parameter(&mut self, place: &'static str, name: &str, ty: Type) {
        self.parameters.push(Parameter {
            name: name.to_owned(),
            place,
            description: "",
            required: place == "path",
            ty,
            rules: &[],
            example: "",
        });
    }

    fn field_parameter(&mut self, place: &'static str, field: &Field) {
        self.parameters.push(Parameter {
            name: field.name.to_owned(),
            place,
            description: field.description,
            required: field.required && !is_list((field.ty)()),
            ty: unwrap_nullable((field.ty)()),
            rules: field.rules,
            example: field.example,
        });
    }

    /// The query's parameters are the members of this type.
    pub fn query_parameters(&mut self, ty: Type) {
        self.fails(&[422]);
        if let Type::Object(object) = ty {
            for field in object.fields {
                if field.flatten {
                    self.query_parameters((field.ty)());
                } else {
                    self.field_parameter("query", field);
                }
            }
        }
    }

    /// The body is JSON of this type.
    pub fn request(&mut self, ty: Type) {
        self.fails(&[400]);
        self.request_as(JSON, ty);
    }

    /// The body is of this type in another format.
    pub fn request_as(&mut self, content_type: &'static str, ty: Type) {
        self.fails(&[413, 415, 422]);
        self.request = Some(Content::Typed(content_type, ty));
    }

    /// The body is of this content type.
    pub fn raw_request(&mut self, content_type: &'static str) {
        self.fails(&[413]);
        self.request = Some(Content::Raw(content_type));
    }

    /// Answers JSON of this type.
    pub fn response(&mut self, status: u16, ty: Type) {
        self.respond(status, Content::Typed(JSON, ty));
    }

    /// Answers this content type.
    pub fn raw_response(&mut self, status: u16, content_type: &'static str) {
        self.respond(status, Content::Raw(content_type));
    }

    /// Answers without a body.
    pub fn empty_response(&mut self, status: u16) {
        self.respond(status, Content::Empty);
    }

    fn respond(&mut self, status: u16, content: Content) {
        self.responses.insert(status, Response { content, headers: Vec::new() });
    }

    /// A header field of a response; status 0 for all of them.
    pub fn response_header(&mut self, status: u16, name: &'static str, about: &'static str) {
        for (known, response) in &mut self.responses {
            if status == 0 || status == *known {
                response.headers.push((name, about));
            }
        }
    }

    /// Needs a principal.
    pub fn authenticated(&mut self) {
        self.authenticated = true;
        self.fails(&[401, 403]);
    }

    /// Takes `If-Match`.
    pub fn conditional(&mut self) {
        self.fails(&[412]);
        self.parameter("header", "If-Match", Type::String(""));
    }

    /// Takes `Idempotency-Key`.
    pub fn idempotent(&mut self) {
        self.fails(&[409, 422]);
        if self.parameters.iter().all(|p| p.name != "Idempotency-Key") {
            self.parameter("header", "Idempotency-Key", Type::String(""));
        }
    }
}

fn names_of(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern
        .split('/')
        .filter_map(|s| Some(s.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
}

fn is_list(ty: Type) -> bool {
    matches!(ty, Type::Array(_))
}

fn unwrap_nullable(ty: Type) -> Type {
    match ty {
        Type::Nullable(inner) => inner(),
        other => other,
    }
}

/// The document of a service.
#[must_use]
pub fn document(service: &Service) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut tags = Vec::new();
    let shown = || service.route_tables().iter().copied().flatten().filter(|route| !route.hidden);
    let mut ids = BTreeSet::new();
    for route in shown() {
        let mut op = Operation::new(route);
        (route.describe)(&mut op);
        if route.method == Method::Post {
            op.idempotent();
        }
        for name in names_of(route.pattern) {
            if op.parameters.iter().all(|p| p.place != "path" || p.name != name) {
                op.parameter("path", name, Type::String(""));
            }
        }
        let tag = if route.tag.is_empty() { service.name() } else { route.tag };
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let id = match shown().filter(|other| other.name == route.name).count() {
            1 => route.name.to_owned(),
            // Handlers of one name in two modules.
            _ => format!("{}_{}", route.name, tag.replace('-', "_")),
        };
        // One handler of two routes.
        let id = if ids.contains(&id) { format!("{id}_{}", ids.len()) } else { id };
        ids.insert(id.clone());
        let operation = operation(route, &op, (&id, tag), &mut schemas);
        let path = route.pattern.replace("{*", "{");
        // A route for every method is documented as the one that shows it best.
        let method = match route.method {
            Method::Any => "get".to_owned(),
            method => method.as_str().to_ascii_lowercase(),
        };
        paths.entry(path).or_default().insert(method, operation);
    }
    schemas.named.insert("Problem".to_owned(), problem_schema());
    let tags: Vec<Value> = tags.into_iter().map(|tag| json!({"name": tag})).collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": service.name(),
            "version": service.version(),
            "description": service.description(),
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.named,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    })
}

fn operation(
    route: &Route,
    op: &Operation,
    (id, tag): (&str, &str),
    schemas: &mut Schemas,
) -> Value {
    let mut value = Map::new();
    value.insert("operationId".to_owned(), json!(id));
    let mut lines = route.docs.iter().map(|line| line.trim());
    let summary = lines.next().unwrap_or(route.name).trim_end_matches('.');
    value.insert("summary".to_owned(), json!(summary));
    let description = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
    if !description.is_empty() {
        value.insert("description".to_owned(), json!(description));
    }
    value.insert("tags".to_owned(), json!([tag]));
    if route.deprecated {
        value.insert("deprecated".to_owned(), json!(true));
    }
    if op.authenticated {
        value.insert("security".to_owned(), json!([{"bearer": []}, {"apiKey": []}]));
    }
    if !op.parameters.is_empty() {
        let parameters: Vec<Value> = op.parameters.iter().map(|p| schemas.parameter(p)).collect();
        value.insert("parameters".to_owned(), json!(parameters));
    }
    if let Some(request) = &op.request {
        value.insert(
            "requestBody".to_owned(),
            json!({"required": true, "content": schemas.content(request)}),
        );
    }
    let mut responses = Map::new();
    if op.responses.is_empty() {
        responses.insert("200".to_owned(), json!({"description": "OK"}));
    }
    for (status, response) in &op.responses {
        let mut entry = json!({"description": title_of(*status)});
        if !matches!(response.content, Content::Empty) {
            entry["content"] = schemas.content(&response.content);
        }
        for (name, about) in &response.headers {
            entry["headers"][*name] = json!({"description": about, "schema": {"type": "string"}});
        }
        responses.insert(status.to_string(), entry);
    }
    for status in &op.errors {
        responses.entry(status.to_string()).or_insert_with(|| problem_response(*status));
    }
    value.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(value)
}

fn problem_response(status: u16) -> Value {
    let title = title_of(status);
    json!({
        "description": title,
        "content": {"application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "example": {
                "type": "urn:airhost:error:request.invalid",
                "title": title,
                "status": status,
                "detail": "What went wrong, in one sentence",
                "message": "What went wrong, in one sentence",
                "code": "request.invalid",
                "instance": "/api/v1/example",
                "correlation_id": "0192f0c1-2345-7abc-8def-0123456789ab",
            },
        }},
    })
}

fn problem_schema() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457)",
        "required": ["type", "title", "status", "detail", "message", "instance", "correlation_id"],
        "properties": {
            "type": text("Names the kind of problem"),
            "title": text("Reason phrase of the status"),
            "status": {"type": "integer", "format": "int32"},
            "detail": text("One sentence"),
            "message": text("Repeats detail"),
            "code": text("Stable code"),
            "instance": text("Path of the request"),
            "correlation_id": text("Finds the request in logs and traces"),
            "errors": {
                "type": "array",
                "description": "The faults of the input",
                "items": {
                    "type": "object",
                    "required": ["pointer", "message"],
                    "properties": {
                        "pointer": text("JSON pointer (RFC 6901)"),
                        "message": text("What is wrong"),
                    },
                },
            },
        },
    })
}

#[derive(Default)]
struct Schemas {
    named: BTreeMap<String, Value>,
}

impl Schemas {
    fn parameter(&mut self, parameter: &Parameter) -> Value {
        let mut schema = self.schema(parameter.ty);
        apply(&mut schema, parameter.rules);
        let mut value = json!({
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required,
            "schema": schema,
        });
        if !parameter.description.is_empty() {
            value["description"] = json!(parameter.description);
        }
        value["example"] = parse(parameter.example)
            .unwrap_or_else(|| example(parameter.ty, parameter.rules, &mut Vec::new()));
        value
    }

    fn content(&mut self, content: &Content) -> Value {
        match content {
            Content::Typed(content_type, ty) => json!({*content_type: {
                "schema": self.schema(*ty),
                "example": example(*ty, &[], &mut Vec::new()),
            }}),
            Content::Raw(content_type) => {
                let schema = if content_type.starts_with("text/") {
                    json!({"type": "string"})
                } else {
                    json!({"type": "string", "format": "binary"})
                };
                json!({*content_type: {"schema": schema}})
            }
            Content::Empty => json!({}),
        }
    }

    fn schema(&mut self, ty: Type) -> Value {
        match ty {
            Type::Any => json!({}),
            Type::Boolean => json!({"type": "boolean"}),
            Type::Integer(format, None) => json!({"type": "integer", "format": format}),
            Type::Integer(format, Some(minimum)) => {
                json!({"type": "integer", "format": format, "minimum": minimum})
            }
            Type::Number => json!({"type": "number", "format": "double"}),
            Type::String("") => json!({"type": "string"}),
            Type::String(format) => json!({"type": "string", "format": format}),
            Type::Array(item) => json!({"type": "array", "items": self.schema(item())}),
            // OpenAPI 3.0 has no lists of fixed types.
            Type::Tuple(types) => json!({
                "type": "array",
                "items": {},
                "minItems": types.len(),
                "maxItems": types.len(),
            }),
            Type::Map(item) => {
                json!({"type": "object", "additionalProperties": self.schema(item())})
            }
            Type::Nullable(inner) => nullable(self.schema(inner())),
            Type::Object(object) => {
                let name = name_of(ty);
                self.define(&name, |schemas| {
                    let mut value = schemas.members(object.fields);
                    if object.closed {
                        value["additionalProperties"] = json!(false);
                    }
                    described(value, object.description)
                })
            }
            Type::Enum(names) => self.define(names.name, |_| {
                described(json!({"type": "string", "enum": names.values}), names.description)
            }),
            Type::Union(union) => self
                .define(union.name, |schemas| described(schemas.union(union), union.description)),
        }
    }

    /// A reference to a named schema, which is made on first use; a type may hold itself.
    fn define(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), Value::Null);
            let value = make(self);
            self.named.insert(name.to_owned(), value);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn members(&mut self, fields: &[Field]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut all = Vec::new();
        for field in fields {
            if field.flatten {
                match unwrap_nullable((field.ty)()) {
                    Type::Map(_) | Type::Any => {}
                    ty => all.push(self.schema(ty)),
                }
                continue;
            }
            let mut schema = self.schema((field.ty)());
            apply(&mut schema, field.rules);
            if let Some(example) = parse(field.example)
                && schema.get("$ref").is_none()
            {
                schema["example"] = example;
            }
            properties.insert(field.name.to_owned(), described(schema, field.description));
            if field.required {
                required.push(field.name);
            }
        }
        let mut value = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            value["required"] = json!(required);
        }
        if all.is_empty() {
            return value;
        }
        all.push(value);
        json!({"allOf": all})
    }

    fn union(&mut self, union: &Union) -> Value {
        let mut variants = Vec::new();
        for variant in union.variants {
            let name = json!({"type": "string", "enum": [variant.name]});
            let body = match variant.body {
                VariantBody::Unit => None,
                VariantBody::One(ty) => Some(self.schema(ty())),
                VariantBody::Fields(fields) => Some(self.members(fields)),
            };
            let tagged =
                |tag: &str| json!({"type": "object", "required": [tag], "properties": {tag: name}});
            variants.push(match (union.tagging, body) {
                (Tagging::None, body) => body.unwrap_or_else(|| json!({"nullable": true})),
                (Tagging::External, None) => name,
                (Tagging::External, Some(body)) => json!({
                    "type": "object",
                    "required": [variant.name],
                    "properties": {variant.name: body},
                }),
                (Tagging::Internal(tag), Some(body)) => json!({"allOf": [tagged(tag), body]}),
                (Tagging::Adjacent(tag, content), Some(body)) => json!({
                    "type": "object",
                    "required": [tag, content],
                    "properties": {tag: name, content: body},
                }),
                (Tagging::Internal(tag) | Tagging::Adjacent(tag, _), None) => tagged(tag),
            });
        }
        let word = if matches!(union.tagging, Tagging::None) { "anyOf" } else { "oneOf" };
        json!({word: variants})
    }
}

/// The schema's name; generic types carry their parameters, as `PageOfItem`.
fn name_of(ty: Type) -> String {
    match ty {
        Type::Object(object) => {
            let mut name = object.name.to_owned();
            for (index, parameter) in object.parameters.iter().enumerate() {
                name.push_str(if index == 0 { "Of" } else { "And" });
                name.push_str(&name_of(parameter()));
            }
            name
        }
        Type::Enum(names) => names.name.to_owned(),
        Type::Union(union) => union.name.to_owned(),
        Type::Array(item) => format!("{}List", name_of(item())),
        Type::Map(item) => format!("{}Map", name_of(item())),
        Type::Nullable(inner) => name_of(inner()),
        Type::Tuple(_) => "Tuple".to_owned(),
        Type::Any => "Any".to_owned(),
        Type::Boolean => "Boolean".to_owned(),
        Type::Integer(..) => "Integer".to_owned(),
        Type::Number => "Number".to_owned(),
        Type::String(_) => "String".to_owned(),
    }
}

fn nullable(mut schema: Value) -> Value {
    if schema.get("$ref").is_some() {
        return json!({"nullable": true, "allOf": [schema]});
    }
    schema["nullable"] = json!(true);
    schema
}

fn described(mut schema: Value, description: &str) -> Value {
    if description.is_empty() {
        return schema;
    }
    // Beside `$ref` everything is ignored in OpenAPI 3.0.
    if schema.get("$ref").is_some() {
        schema = json!({"allOf": [schema]});
    }
    schema["description"] = json!(description);
    schema
}

fn apply(schema: &mut Value, rules: &[Rule]) {
    for rule in rules {
        let (name, value) = match *rule {
            Rule::MinLength(n) => ("minLength", json!(n)),
            Rule::MaxLength(n) => ("maxLength", json!(n)),
            Rule::MinItems(n) => ("minItems", json!(n)),
            Rule::MaxItems(n) => ("maxItems", json!(n)),
            Rule::Min(n) => ("minimum", plain(n)),
            Rule::Max(n) => ("maximum", plain(n)),
            Rule::NotBlank => ("pattern", json!("\\S")),
            Rule::OneOf(values) => ("enum", json!(values)),
            Rule::Format(format) => ("format", json!(format)),
        };
        if schema.get("$ref").is_some() {
            *schema = json!({"allOf": [schema.take()]});
        }
        schema[name] = value;
    }
}

fn parse(text: &str) -> Option<Value> {
    if text.is_empty() { None } else { serde_json::from_str(text).ok() }
}

/// An example that fits the rules, from the fields' own examples where there are some. `inside`
/// names the types it is inside of: one that holds itself ends there.
fn example(ty: Type, rules: &[Rule], inside: &mut Vec<String>) -> Value {
    match ty {
        Type::Any => json!({}),
        Type::Boolean => json!(true),
        Type::Integer(..) | Type::Number => {
            let least = rules.iter().find_map(|rule| match rule {
                Rule::Min(n) => Some(*n),
                _ => None,
            });
            plain(least.unwrap_or(1.0))
        }
        Type::String(format) => json!(example_text(format, rules)),
        Type::Array(item) if holds(item(), inside) => json!([]),
        Type::Array(item) => json!([example(item(), &[], inside)]),
        Type::Tuple(types) => types.iter().map(|ty| example(ty(), &[], inside)).collect(),
        Type::Map(item) if holds(item(), inside) => json!({}),
        Type::Map(item) => json!({"name": example(item(), &[], inside)}),
        Type::Nullable(inner) => example(inner(), rules, inside),
        Type::Enum(names) => json!(names.values.first()),
        Type::Object(object) => {
            inside.push(name_of(ty));
            let mut members = Map::new();
            example_members(object.fields, &mut members, inside);
            inside.pop();
            Value::Object(members)
        }
        Type::Union(union) => {
            inside.push(name_of(ty));
            let value = example_union(union, inside);
            inside.pop();
            value
        }
    }
}

/// Whether an example of the type would hold itself.
fn holds(ty: Type, inside: &[String]) -> bool {
    match ty {
        Type::Nullable(inner) => holds(inner(), inside),
        Type::Object(_) | Type::Union(_) => inside.contains(&name_of(ty)),
        _ => false,
    }
}

fn example_union(union: &Union, inside: &mut Vec<String>) -> Value {
    let Some(variant) = union.variants.first() else { return Value::Null };
    let mut members = Map::new();
    let body = match variant.body {
        VariantBody::Unit => Value::Null,
        VariantBody::One(ty) if holds(ty(), inside) => Value::Null,
        VariantBody::One(ty) => example(ty(), &[], inside),
        VariantBody::Fields(fields) => {
            let mut members = Map::new();
            example_members(fields, &mut members, inside);
            Value::Object(members)
        }
    };
    match union.tagging {
        Tagging::None => return body,
        Tagging::External if body.is_null() => return json!(variant.name),
        Tagging::External => {
            members.insert(variant.name.to_owned(), body);
        }
        Tagging::Internal(tag) => {
            members.insert(tag.to_owned(), json!(variant.name));
            if let Value::Object(more) = body {
                members.extend(more);
            }
        }
        Tagging::Adjacent(tag, content) => {
            members.insert(tag.to_owned(), json!(variant.name));
            if !body.is_null() {
                members.insert(content.to_owned(), body);
            }
        }
    }
    Value::Object(members)
}

fn example_members(fields: &[Field], members: &mut Map<String, Value>, inside: &mut Vec<String>) {
    for field in fields {
        let ty = (field.ty)();
        let value = match parse(field.example) {
            Some(value) => value,
            None if holds(ty, inside) => continue,
            None => example(ty, field.rules, inside),
        };
        match value {
            Value::Object(more) if field.flatten => members.extend(more),
            value => {
                members.insert(field.name.to_owned(), value);
            }
        }
    }
}

fn example_text(format: &str, rules: &[Rule]) -> String {
    let mut format = format;
    for rule in rules {
        match rule {
            Rule::OneOf(values) => return values.first().copied().unwrap_or_default().to_owned(),
            Rule::Format(name) => format = name,
            _ => {}
        }
    }
    let text = match format {
        "uuid" => "0192f0c1-2345-7abc-8def-0123456789ab",
        "date-time" => "2026-01-31T12:00:00.000Z",
        "date" => "2026-01-31",
        "decimal" => "12.50",
        "email" => "ada@example.com",
        "uri" => "https://example.com/",
        "hostname" => "example.com",
        "slug" => "an-example",
        "topic" => "record.created",
        _ => "text",
    };
    let least = rules.iter().find_map(|rule| match rule {
        Rule::MinLength(n) => Some(*n),
        _ => None,
    });
    let mut text = text.to_owned();
    while text.len() < least.unwrap_or(0) {
        text.push('x');
    }
    for rule in rules {
        if let Rule::MaxLength(most) = rule {
            text.truncate(*most);
        }
    }
    text
}
