//! Entity tags (RFC 9110, sections 8.8.3 and 13.1).

use std::fmt;

use super::{Cx, FromRequest, IntoResponse, Response};
use crate::{Error, Result, openapi::Operation};

/// A strong entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// From the number that a resource counts its changes with.
    #[must_use]
    pub fn version(version: i64) -> Self {
        Self(format!("\"{version}\""))
    }

    /// From what tells two states apart, as a hash; quotes and control characters are left out.
    #[must_use]
    pub fn opaque(value: &str) -> Self {
        let value: String = value.chars().filter(|c| *c != '"' && !c.is_control()).collect();
        Self(format!("\"{value}\""))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a list of tags (`If-Match`, `If-None-Match`) has this one.
pub(super) fn listed(list: &str, tag: &str, weak: bool) -> bool {
    let strip =
        |tag: &str| -> String { tag.strip_prefix("W/").filter(|_| weak).unwrap_or(tag).to_owned() };
    list.trim() == "*" || list.split(',').any(|one| strip(one.trim()) == strip(tag))
}

/// The request's `If-Match`. The check passes if there is none: whoever wants it mandatory asks
/// with [`required`](Self::required).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// 412 if the request names other tags than the current one.
    ///
    /// # Errors
    /// `resource.changed`.
    pub fn check(&self, current: &ETag) -> Result<()> {
        match &self.0 {
            Some(list) if !listed(list, &current.0, false) => Err(Error::precondition_failed()),
            _ => Ok(()),
        }
    }

    /// 428 if the request has no `If-Match`.
    ///
    /// # Errors
    /// `request.precondition-required`.
    pub fn required(self) -> Result<Self> {
        if self.0.is_some() {
            Ok(self)
        } else {
            Err(Error::new(428, "request.precondition-required", "send If-Match with the ETag"))
        }
    }
}

impl FromRequest for IfMatch {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        Ok(Self(cx.request.header("if-match")))
    }

    fn describe(op: &mut Operation) {
        op.conditional();
    }
}

/// A response with an `ETag`. A `GET` whose `If-None-Match` has it is answered 304.
#[derive(Clone, Debug)]
pub struct WithEtag<R>(pub ETag, pub R);

impl<R: IntoResponse> IntoResponse for WithEtag<R> {
    fn into_response(self) -> Result<Response> {
        Ok(self.1.into_response()?.with("etag", self.0.0))
    }

    fn describe_response(op: &mut Operation) {
        R::describe_response(op);
        op.response_header(0, "ETag", "Names this state; send it in If-Match");
    }
}
