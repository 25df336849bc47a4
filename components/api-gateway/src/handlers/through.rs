//! A request on its way through.

use sdk::{
    Error, Principal, Result, crypto,
    http::{self, Cx, FromRequest, Proxy, Request, Surface},
};
use serde::Deserialize;

use super::{identity, limits, permissions};
use crate::domain::{access, limits::Check};

/// What the route table says about the request.
struct Matched {
    service: String,
    path: String,
    auth: Auth,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Auth {
    None,
    Optional,
    Required,
}

impl Matched {
    /// 404 for a request that no route has led here: a service's, asking the gateway itself.
    fn of(request: &Request) -> Result<Self> {
        let mut params = request.route_params();
        let mut take = |name: &str| {
            let at = params.iter().position(|(key, _)| key == name)?;
            Some(params.swap_remove(at).1)
        };
        let (Some(service), Some(path)) = (take(":service"), take(":rewrite")) else {
            return Err(unknown());
        };
        let auth = match take(":auth").as_deref() {
            Some("none") => Auth::None,
            Some("optional") => Auth::Optional,
            _ => Auth::Required,
        };
        Ok(Self { service, path, auth })
    }
}

fn unknown() -> Error {
    Error::new(404, "request.no-route", "there is nothing at this path")
}

/// The body of an attempt to log in, which is read to count attempts on one account. All other
/// bodies pass unread.
pub(super) struct Login(Option<Vec<u8>>);

const LOGIN: &str = "/api/v1/auth/login";
const MAX_LOGIN: u64 = 64 << 10;

impl FromRequest for Login {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        if cx.request().method() != "POST" || cx.request().path() != LOGIN {
            return Ok(Self(None));
        }
        cx.read_body(MAX_LOGIN).map(|body| Self(Some(body)))
    }
}

impl Login {
    /// Stands for the account that is tried.
    fn account(body: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Attempt {
            email: String,
        }
        let attempt: Attempt = serde_json::from_slice(body).ok()?;
        let mut hash = crypto::sha256_hex(attempt.email.trim().to_lowercase().as_bytes());
        hash.truncate(32);
        Some(hash)
    }
}

pub(super) fn through(request: Request, login: Login) -> Result<Proxy> {
    let matched = Matched::of(&request)?;
    let (method, path) = (request.method(), request.path());
    let needed = match Surface::of(&path) {
        Surface::Airtable => Some(access::of_airtable(&method, &path).ok_or_else(unknown)?),
        _ => None,
    };
    let principal = identify(&request, matched.auth)?;
    if let Some(principal) = &principal {
        let scope = match &needed {
            Some(needed) => Some(needed.scope),
            None => access::scope_of(&method, &path),
        };
        // Routes that take everyone take limited tokens too.
        if matched.auth == Auth::Required && !access::allows(principal.scopes(), scope) {
            return Err(Error::forbidden("the token is not meant for this").code_is("token.scope"));
        }
    }
    let ip = request.client_ip();
    let mut check = match &principal {
        Some(principal) => Check::of_user(principal.tenant().as_str(), principal.subject()),
        None => Check::of_address(&ip),
    };
    if let Some(body) = &login.0 {
        check = check.and_login(&ip, Login::account(body));
    }
    // Both at once: they do not depend on each other.
    let limit = limits::ask(&check);
    let permission =
        needed.and_then(|needed| Some(permissions::ask(needed.action, needed.base?, &ip)));
    let verdict = limit.verdict()?;
    if let Some(permission) = permission {
        permission.granted()?;
    }
    let mut proxy = forward(&request, &matched, login).proxy();
    for (name, value) in verdict.fields().into_iter().flatten() {
        proxy = proxy.header(name, value);
    }
    Ok(proxy)
}

/// The principal, as far as the route asks for one. On routes that take everyone, a token that
/// does not hold counts as none: who refreshes a session sends one that has expired.
fn identify(request: &Request, auth: Auth) -> Result<Option<Principal>> {
    let identified = match auth {
        Auth::None => return Ok(None),
        Auth::Optional | Auth::Required => identity::authenticate(request),
    };
    match (identified, auth) {
        (Ok(None), Auth::Required) => {
            Err(Error::unauthorized("send a token in Authorization or X-API-Key"))
        }
        (Err(error), Auth::Optional) if error.status() == 401 => Ok(None),
        (Err(error), _) if error.status() == 401 => {
            // Guessing is limited as everything that nobody answers for.
            limits::ask(&Check::of_address(&request.client_ip())).verdict()?;
            Err(error)
        }
        (identified, _) => identified,
    }
}

/// Fields that end here: those of the connection (RFC 9110, section 7.6.1), those the host makes,
/// and the credential, which has become the principal.
const STOPPED: [&str; 16] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-airhost-cache",
    "x-api-key",
];

fn forward(request: &Request, matched: &Matched, login: Login) -> http::Call {
    let mut url = format!("http://{}{}", matched.service, matched.path);
    if let Some(query) = request.query() {
        url.push('?');
        url.push_str(&query);
    }
    let mut call = http::request(&request.method(), url);
    for (name, value) in request.headers() {
        if STOPPED.binary_search(&name.as_str()).is_err() {
            call = call.header(&name, value);
        }
    }
    match login.0 {
        Some(body) => call.body(body),
        None => call.request_body(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_as_the_search_needs_it() {
        assert!(STOPPED.is_sorted());
    }

    #[test]
    fn an_account_is_one_however_it_is_written() {
        let of = |email: &str| {
            Login::account(serde_json::json!({"email": email}).to_string().as_bytes())
        };
        assert_eq!(of(" Ada@Example.com "), of("ada@example.com"));
        assert_ne!(of("a@example.com"), of("b@example.com"));
        assert_eq!(Login::account(b"[]"), None);
    }
}
