//! Which handler takes a request.

use super::{Cx, Reply, Request, Responder, Response, Surface, etag, params::percent_decode};
use crate::{Error, Result, context, imports, openapi::Operation, service::Service};

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 9110, section 9.3, and RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// Every method, for a route that hands on what it gets.
    Any,
}

impl Method {
    /// As in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Any => "*",
        }
    }

    fn takes(self, method: &str) -> bool {
        self == Self::Any || self.as_str() == method || (self == Self::Get && method == "HEAD")
    }
}

/// A route, made by [`routes!`](crate::routes).
#[derive(Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path with `{name}` for a segment and `{*name}` for all that follow.
    pub pattern: &'static str,
    /// Operation id: the handler's name.
    pub name: &'static str,
    /// Doc comment, a line each.
    pub docs: &'static [&'static str],
    /// Tag in the OpenAPI document.
    pub tag: &'static str,
    /// Announced as deprecated.
    pub deprecated: bool,
    /// Not in the OpenAPI document.
    pub hidden: bool,
    /// Statuses the handler answers beyond those its arguments imply.
    pub errors: &'static [u16],
    /// The handler.
    pub call: fn(&mut Cx) -> Result<Reply>,
    /// Describes the handler.
    pub describe: fn(&mut Operation),
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.pattern)
    }
}

/// A table of routes.
pub type Routes = &'static [Route];

/// Declares a table of routes: method, path, handler. The doc comment becomes summary and
/// description in the OpenAPI document, the handler's name the operation id.
///
/// ```
/// use sdk::{Result, http::{Path, Routes, Text}};
/// fn greet(Path(name): Path<String>) -> Result<Text> {
///     Ok(Text::plain(format!("hello {name}")))
/// }
/// pub const ROUTES: Routes = sdk::routes! {
///     tag "greetings";
///     /// Greets somebody.
///     GET "/api/v1/greetings/{name}" => greet;
/// };
/// ```
///
/// After the handler may follow, separated by commas: `errors [404, 409]`, `deprecated`, `hidden`,
/// `name "operationId"`. Methods: `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`, `HEAD`, `ANY`.
/// Literal segments win over `{name}`, and those over `{*rest}`, in whatever order they are listed.
#[macro_export]
macro_rules! routes {
    (
        tag $tag:literal;
        $(
            $(#[doc = $doc:literal])*
            $method:ident $pattern:literal => $($handler:ident)::+
            $(, $option:ident $([$($status:literal),*])? $($text:literal)?)*;
        )*
    ) => {
        &[$(
            $crate::__route_options!(
                $crate::http::Route {
                    method: $crate::__method!($method),
                    pattern: $pattern,
                    name: $crate::__last!($($handler)+),
                    docs: &[$($doc),*],
                    tag: $tag,
                    deprecated: false,
                    hidden: false,
                    errors: &[],
                    call: |cx| $crate::http::Handler::call(&$($handler)::+, cx),
                    describe: |op| $crate::http::describe_handler(&$($handler)::+, op),
                },
                $($option $([$($status),*])? $($text)?;)*
            ),
        )*]
    };
    ($($rest:tt)*) => { $crate::routes! { tag ""; $($rest)* } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __method {
    (GET) => {
        $crate::http::Method::Get
    };
    (HEAD) => {
        $crate::http::Method::Head
    };
    (POST) => {
        $crate::http::Method::Post
    };
    (PUT) => {
        $crate::http::Method::Put
    };
    (PATCH) => {
        $crate::http::Method::Patch
    };
    (DELETE) => {
        $crate::http::Method::Delete
    };
    (OPTIONS) => {
        $crate::http::Method::Options
    };
    (ANY) => {
        $crate::http::Method::Any
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __last {
    ($last:ident) => { stringify!($last) };
    ($first:ident $($rest:ident)+) => { $crate::__last!($($rest)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __route_options {
    ($route:expr,) => { $route };
    ($route:expr, errors [$($status:literal),*]; $($rest:tt)*) => {
        $crate::__route_options!($crate::http::Route { errors: &[$($status),*], ..$route }, $($rest)*)
    };
    ($route:expr, deprecated; $($rest:tt)*) => {
        $crate::__route_options!($crate::http::Route { deprecated: true, ..$route }, $($rest)*)
    };
    ($route:expr, hidden; $($rest:tt)*) => {
        $crate::__route_options!($crate::http::Route { hidden: true, ..$route }, $($rest)*)
    };
    ($route:expr, name $name:literal; $($rest:tt)*) => {
        $crate::__route_options!($crate::http::Route { name: $name, ..$route }, $($rest)*)
    };
}

/// How exactly a pattern names a path: compared segment by segment, literal before parameter
/// before rest, so that no order of declaration matters.
type Rank = u64;

/// Whether the pattern takes the path, and how exactly. No allocation: tables are walked anew in
/// every fresh instance.
fn rank(pattern: &str, path: &str) -> Option<Rank> {
    let literal = pattern.find('{').unwrap_or(pattern.len());
    if !path.as_bytes().starts_with(&pattern.as_bytes()[..literal]) {
        return None;
    }
    let mut rank = 1;
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        if expected.starts_with("{*") {
            segments.next()?;
            return Some(rank << 2 << (2 * segments.count().min(20)));
        }
        let segment = segments.next()?;
        let parameter = expected.starts_with('{');
        if (parameter && segment.is_empty())
            || (!parameter && percent_decode(segment, false) != expected)
        {
            return None;
        }
        rank = rank << 2 | if parameter { 1 } else { 2 };
    }
    segments.next().is_none().then_some(rank)
}

fn path_params(pattern: &'static str, path: &str) -> Vec<(&'static str, String)> {
    let mut params = Vec::new();
    let mut rest = path;
    for expected in pattern.split('/') {
        if let Some(name) = expected.strip_prefix("{*").and_then(|n| n.strip_suffix('}')) {
            params.push((name, percent_decode(rest, false).into_owned()));
            break;
        }
        let (segment, after) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(name) = expected.strip_prefix('{').and_then(|n| n.strip_suffix('}')) {
            params.push((name, percent_decode(segment, false).into_owned()));
        }
        rest = after;
    }
    params
}

/// The most exact route for a path, or the methods that the path has otherwise.
fn find(tables: &[Routes], method: &str, path: &str) -> Result<&'static Route, Vec<&'static str>> {
    let mut best: Option<(Rank, &'static Route)> = None;
    let mut allowed = Vec::new();
    for route in tables.iter().copied().flatten() {
        let Some(rank) = rank(route.pattern, path) else { continue };
        if route.method.takes(method) {
            if best.is_none_or(|(most, _)| rank > most) {
                best = Some((rank, route));
            }
        } else if !allowed.contains(&route.method.as_str()) {
            allowed.push(route.method.as_str());
        }
    }
    best.map(|(_, route)| route).ok_or(allowed)
}

/// Answers a request: the route's reply, or the problem that came instead.
pub(crate) fn dispatch(
    service: &'static Service,
    request: imports::http::Request,
    responder: imports::http::Responder,
) -> Reply {
    let request = Request(std::rc::Rc::new(request));
    let method = request.method();
    let path = request.path();
    let mut cx = Cx::new(request, Responder::new(responder));
    let reply = match find(service.route_tables(), &method, &path) {
        Ok(route) => {
            cx.params = path_params(route.pattern, &path);
            cx.route = Some(route);
            (route.call)(&mut cx)
        }
        Err(allowed) => unrouted(&method, allowed),
    };
    match reply {
        Ok(Reply::Whole(response)) => Reply::Whole(finish(response, &cx, &method)),
        Ok(reply) => reply,
        Err(error) => Reply::Whole(failed(&error, &path)),
    }
}

fn unrouted(method: &str, mut allowed: Vec<&'static str>) -> Result<Reply> {
    if allowed.is_empty() {
        return Err(Error::new(404, "request.no-route", "there is nothing at this path"));
    }
    if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
        allowed.push("HEAD");
    }
    allowed.push("OPTIONS");
    let allow = allowed.join(", ");
    if method == "OPTIONS" {
        return Ok(Reply::Whole(Response::of(204).with("allow", allow)));
    }
    Err(Error::new(405, "request.method", format!("{method} is not possible here; {allow} are"))
        .header("allow", allow))
}

/// 304 for a `GET` whose `If-None-Match` has the response's tag (RFC 9110, section 13.1.2).
fn finish(response: Response, cx: &Cx, method: &str) -> Response {
    if response.status != 200 || !matches!(method, "GET" | "HEAD") {
        return response;
    }
    let fresh = response.header("etag").is_some_and(|tag| {
        cx.request().header("if-none-match").is_some_and(|list| etag::listed(&list, tag, true))
    });
    if !fresh {
        return response;
    }
    // Section 15.4.5: what a 200 would have had, but for what describes the body.
    let kept = ["cache-control", "content-location", "date", "etag", "expires", "vary"];
    Response {
        status: 304,
        headers: response
            .headers
            .into_iter()
            .filter(|(name, _)| kept.contains(&name.as_str()))
            .collect(),
        body: Vec::new(),
    }
}

fn failed(error: &Error, path: &str) -> Response {
    let correlation_id = context::correlation_id();
    if error.status() >= 500 {
        crate::error!(
            code = error.code(),
            status = error.status(),
            path = path,
            "{}",
            error.detail()
        );
    }
    Surface::of(path).response(error, path, &correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let rows = [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/a/{id}", "/a/1", true),
            ("/a/{id}", "/a/", false),
            ("/a/{id}", "/a/1/2", false),
            ("/a/{id}/b", "/a/1/b", true),
            ("/a/{*rest}", "/a/1/2/3", true),
            ("/a/{*rest}", "/a/", true),
            ("/a/{*rest}", "/a", false),
            ("/{id}/b%20c", "/1/b%2520c", true),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(rank(pattern, path).is_some(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(
            path_params("/a/{id}/{*rest}", "/a/x%2Fy/b/c%20d"),
            [("id", "x/y".to_owned()), ("rest", "b/c d".to_owned())]
        );
    }

    #[test]
    fn the_more_exact_pattern_ranks_higher() {
        let rows = [
            ("/a/b", "/a/{id}", "/a/b"),
            ("/a/{id}", "/a/{*rest}", "/a/b"),
            ("/a/b/{id}", "/a/{id}/c", "/a/b/c"),
            ("/a/{id}/c", "/a/{*rest}", "/a/b/c"),
            ("/a/{*rest}", "/{*rest}", "/a/b/c"),
        ];
        for (more, less, path) in rows {
            assert!(rank(more, path).unwrap() > rank(less, path).unwrap(), "{more} {less}");
        }
    }
}
