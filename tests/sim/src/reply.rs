//! What a request is answered with.

use bytes::Bytes;
use serde_json::{Value, json};

/// A successful answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(Value),
    Empty,
    File { content_type: String, data: Bytes },
}

/// A refusal in the shape of the Web API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// The answer to one API request.
pub(crate) type ApiResult<T = Reply> = Result<T, ApiError>;

impl ApiError {
    /// `{"error":{"type","message"}}`
    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, body: json!({"error": {"type": kind, "message": message.into()}}) }
    }

    /// 422 with a type and a message.
    pub(crate) fn invalid(kind: &str, message: impl Into<String>) -> Self {
        Self::new(422, kind, message)
    }

    /// The general refusal of a request that makes no sense.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::invalid("INVALID_REQUEST_UNKNOWN", message)
    }

    pub(crate) fn bad_parameters() -> Self {
        Self::request("Invalid request: parameter validation failed. Check your request data.")
    }

    pub(crate) fn missing_fields(name: &str) -> Self {
        Self::invalid(
            "INVALID_REQUEST_MISSING_FIELDS",
            format!("Could not find field \"{name}\" in the request body"),
        )
    }

    /// 404: the path or id matches nothing; the bare form.
    pub(crate) fn not_found() -> Self {
        Self { status: 404, body: json!({"error": "NOT_FOUND"}) }
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(401, "AUTHENTICATION_REQUIRED", "Authentication required")
    }

    /// 403: unknown base or table, or one the token has no grant for.
    pub(crate) fn forbidden() -> Self {
        Self::new(
            403,
            "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND",
            "Invalid permissions, or the requested model was not found. Check that both your user \
             and your token have the required permissions, and that the model names and/or ids are \
             correct.",
        )
    }

    /// 403: the token lacks a scope, or the user the right.
    pub(crate) fn not_permitted() -> Self {
        Self::new(403, "INVALID_PERMISSIONS", "You are not permitted to perform this operation")
    }

    pub(crate) fn unknown_field(name: &str) -> Self {
        Self::invalid("UNKNOWN_FIELD_NAME", format!("Unknown field name: \"{name}\""))
    }

    pub(crate) fn bad_cell(field: &str) -> Self {
        Self::invalid(
            "INVALID_VALUE_FOR_COLUMN",
            format!("Field \"{field}\" cannot accept the provided value"),
        )
    }

    pub(crate) fn computed_cell(field: &str) -> Self {
        Self::invalid(
            "INVALID_VALUE_FOR_COLUMN",
            format!("Field \"{field}\" cannot accept a value because the field is computed"),
        )
    }

    pub(crate) fn new_choice(name: &str) -> Self {
        Self::invalid(
            "INVALID_MULTIPLE_CHOICE_OPTIONS",
            format!("Insufficient permissions to create new select option \"\"{name}\"\""),
        )
    }

    pub(crate) fn no_row(id: &str) -> Self {
        Self::invalid("ROW_DOES_NOT_EXIST", format!("Record ID {id} does not exist"))
    }

    pub(crate) fn batch_size() -> Self {
        Self::invalid(
            "INVALID_RECORDS",
            "You must provide an array of up to 10 record objects, each with a \"fields\" key for \
             cell values.",
        )
    }

    pub(crate) fn formula(message: &str) -> Self {
        Self::invalid(
            "INVALID_FILTER_BY_FORMULA",
            format!("The formula for filtering records is invalid: {message}"),
        )
    }

    pub(crate) fn rate_limited() -> Self {
        let error = json!({
            "error": "RATE_LIMIT_REACHED",
            "message": "Rate limit exceeded. Please try again later",
        });
        Self { status: 429, body: json!({"errors": [error]}) }
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "REQUEST_TOO_LARGE", "The request body is too large")
    }
}
