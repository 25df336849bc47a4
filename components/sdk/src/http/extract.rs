//! What handlers take.

use serde::de::DeserializeOwned;

use super::{Cx, params};
use crate::{
    Error, Principal, Result, Schema, Tenant, bindings::pyairtable::service::http::Field, context,
    openapi::Operation, schema::check_under,
};

/// An argument of a handler.
pub trait FromRequest: Sized {
    /// Takes it from the request.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn from_request(cx: &mut Cx) -> Result<Self>;

    /// Tells the OpenAPI document about it.
    fn describe(_op: &mut Operation) {}
}

/// Path parameters: one value, a tuple in the order of the pattern, or a struct by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Schema> FromRequest for Path<T> {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        let value: T = params::from_path(&cx.params)?;
        check_under("/path", &value)?;
        Ok(Self(value))
    }

    fn describe(op: &mut Operation) {
        op.path_parameters(T::schema());
    }
}

/// Query parameters into a struct: repeated names into lists, absent ones into `Option` or
/// `#[serde(default)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Schema> FromRequest for Query<T> {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        let value: T = params::from_query(cx.request.query().as_deref().unwrap_or_default())?;
        check_under("/query", &value)?;
        Ok(Self(value))
    }

    fn describe(op: &mut Operation) {
        op.query_parameters(T::schema());
    }
}

/// A body of `application/x-www-form-urlencoded` (at most 1 MiB), as OAuth endpoints take it, into
/// a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<T>(pub T);

const FORM: &str = "application/x-www-form-urlencoded";

impl<T: DeserializeOwned + Schema> FromRequest for Form<T> {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        let kind = cx.request.header("content-type").unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
            return Err(Error::new(415, "request.media-type", format!("send the body as {FORM}")));
        }
        let body = cx.read_body(1 << 20)?;
        let value: T = params::from_form(&String::from_utf8_lossy(&body), "")?;
        check_under("", &value)?;
        Ok(Self(value))
    }

    fn describe(op: &mut Operation) {
        op.request_as(FORM, T::schema());
    }
}

/// All header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers(pub Vec<Field>);

impl Headers {
    /// The first value of a field; the name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequest for Headers {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        Ok(Self(cx.request.headers()))
    }
}

impl FromRequest for Principal {
    fn from_request(_cx: &mut Cx) -> Result<Self> {
        context::principal().ok_or_else(|| Error::unauthorized("log in to do this"))
    }

    fn describe(op: &mut Operation) {
        op.authenticated();
    }
}

impl FromRequest for Option<Principal> {
    fn from_request(_cx: &mut Cx) -> Result<Self> {
        Ok(context::principal())
    }
}

impl FromRequest for Tenant {
    fn from_request(_cx: &mut Cx) -> Result<Self> {
        context::tenant().ok_or_else(|| Error::unauthorized("log in to do this"))
    }

    fn describe(op: &mut Operation) {
        op.authenticated();
    }
}

/// The database for the tenant of the call, as [`sql::tenant`](crate::sql::tenant).
impl FromRequest for crate::sql::Db<'static> {
    fn from_request(_cx: &mut Cx) -> Result<Self> {
        crate::sql::tenant()
    }

    fn describe(op: &mut Operation) {
        op.authenticated();
    }
}

/// Name of the calling service; 403 for clients of a public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

impl FromRequest for Caller {
    fn from_request(_cx: &mut Cx) -> Result<Self> {
        context::caller_service()
            .map(Self)
            .ok_or_else(|| Error::forbidden("only services may do this"))
    }
}

/// The request's `Idempotency-Key`. The host replays answers by itself; a handler needs the key
/// only to pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl FromRequest for IdempotencyKey {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        Ok(Self(cx.request.header("idempotency-key")))
    }

    fn describe(op: &mut Operation) {
        op.idempotent();
    }
}
