//! Requests of a test and what they were answered.

use std::{cell::RefCell, marker::PhantomData, rc::Rc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as JsonValue;

use super::{
    host::run_with,
    imports::http::{Request, Responder},
    state::{Answered, Caller, with},
};
use crate::{
    Service,
    http::{Reply, Response, dispatch},
};

/// A client of the service under test.
#[derive(Clone, Debug)]
#[must_use]
pub struct TestClient<'a> {
    service: &'static Service,
    caller: Caller,
    host: PhantomData<&'a ()>,
}

impl TestClient<'_> {
    pub(super) fn new(service: &'static Service, caller: Caller) -> Self {
        Self { service, caller, host: PhantomData }
    }

    /// The same client, calling through another service.
    pub fn through(mut self, service: &str) -> Self {
        self.caller.service = Some(service.to_owned());
        self
    }

    /// A request with any method; the path may have a query.
    pub fn request(&self, method: &str, path: &str) -> TestRequest {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        TestRequest {
            service: self.service,
            caller: self.caller.clone(),
            request: Request {
                method: method.to_owned(),
                path: path.to_owned(),
                query,
                ..Request::default()
            },
        }
    }

    /// A `GET`.
    pub fn get(&self, path: &str) -> TestRequest {
        self.request("GET", path)
    }

    /// A `POST`.
    pub fn post(&self, path: &str) -> TestRequest {
        self.request("POST", path)
    }

    /// A `PUT`.
    pub fn put(&self, path: &str) -> TestRequest {
        self.request("PUT", path)
    }

    /// A `PATCH`.
    pub fn patch(&self, path: &str) -> TestRequest {
        self.request("PATCH", path)
    }

    /// A `DELETE`.
    pub fn delete(&self, path: &str) -> TestRequest {
        self.request("DELETE", path)
    }
}

/// A request of a test.
#[derive(Debug)]
#[must_use]
pub struct TestRequest {
    service: &'static Service,
    caller: Caller,
    request: Request,
}

#[expect(clippy::expect_used, reason = "a test that is set up wrongly fails there")]
impl TestRequest {
    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Sends an `Idempotency-Key`.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sends an `If-Match`.
    pub fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    /// Sends JSON.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        let body = serde_json::to_vec(value).expect("the body is JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// Sends a form (`application/x-www-form-urlencoded`) as it is written.
    pub fn form(self, form: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded").body(form)
    }

    /// Sends bytes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = RefCell::new(body.into());
        self
    }

    /// The gateway route that matched, with its parameters.
    pub fn route(mut self, route: &str, params: &[(&str, &str)]) -> Self {
        self.request.route = Some(route.to_owned());
        self.request.route_params =
            params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self
    }

    /// Sends the request. As the host does, a `POST` with an `Idempotency-Key` that was answered
    /// before (below 500) is answered the same again, 409 if that answer was `no-store`, and 422
    /// with another body.
    #[must_use]
    pub fn send(self) -> TestResponse {
        let Self { service, caller, request } = self;
        let key =
            request.header("idempotency-key").filter(|_| request.method == "POST").map(|key| {
                let subject = caller.principal.as_ref().map(|p| p.subject.clone());
                (caller.tenant.clone(), subject, request.path.clone(), key)
            });
        let body = request.body.borrow().clone();
        if let Some(key) = &key
            && let Some(answer) = replay(key, &body)
        {
            return answer;
        }
        with(|state| {
            if let Some(key) = &key {
                state.idempotent.insert(key.clone(), Answered { body, response: None });
            }
            state.idempotency.clone_from(&key);
        });
        let responder = Responder::default();
        let sent = Rc::clone(&responder.sent);
        let reply = run_with(caller, || dispatch(service, request, responder));
        let answer = match reply {
            Reply::Whole(response) => TestResponse { response, reply: None, complete: true },
            Reply::Streamed => {
                let sent = sent.borrow();
                TestResponse {
                    response: Response {
                        status: sent.status,
                        headers: sent.headers.clone(),
                        body: sent.body.clone(),
                    },
                    reply: Some(Reply::Streamed),
                    complete: sent.finished,
                }
            }
            reply => {
                TestResponse { response: Response::of(200), reply: Some(reply), complete: true }
            }
        };
        with(|state| {
            state.idempotency = None;
            let Some(key) = &key else { return };
            let Some(answered) = state.idempotent.get_mut(key) else { return };
            if answer.reply.is_none() && answer.status() < 500 {
                answered.response.get_or_insert_with(|| answer.response.clone());
            } else if answered.response.is_none() {
                state.idempotent.remove(key);
            }
        });
        answer
    }
}

fn replay(key: &super::state::IdempotencyKey, body: &[u8]) -> Option<TestResponse> {
    with(|state| {
        let answered = state.idempotent.get(key)?;
        let response = if answered.body == body {
            let response = answered.response.clone()?;
            if response.headers.iter().any(|(n, v)| n == "cache-control" && v == "no-store") {
                crate::Error::new(409, "idempotency.withheld", "the answer was not kept")
                    .problem(&key.2, "")
            } else {
                response
            }
        } else {
            crate::Error::new(422, "idempotency.mismatch", "the key was used with another body")
                .problem(&key.2, "")
        };
        Some(TestResponse { response, reply: None, complete: true })
    })
}

/// What a request was answered.
#[derive(Debug)]
pub struct TestResponse {
    response: Response,
    reply: Option<Reply>,
    complete: bool,
}

#[expect(clippy::panic, reason = "a test that expects another answer fails there")]
impl TestResponse {
    /// The status; 200 for what the host would send (`proxy`, `blob`, `live`).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// The first value of a field; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.response.body
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none, or does not fit.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.response.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status(), self.text()))
    }

    /// The body as a JSON value.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn value(&self) -> JsonValue {
        self.json()
    }

    /// Checks the status, and shows the body if it is another.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{}", self.text());
        self
    }

    /// What the host was handed over to do: `proxy`, `blob`, `live` or `streamed`.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }

    /// Whether a streamed body was finished.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}
