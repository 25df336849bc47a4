//! The first user of a new platform, made through the services' own APIs.

use std::{path::PathBuf, time::Duration};

use airhost_core::{
    Body, Call, CallContext, Caller, Deadline, Dispatch as _, Error, Priority, Request, Result,
    ServiceName, Target, codes,
};
use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{listeners::GATEWAY, node::Node, state};

/// The address of the first user.
const EMAIL: &str = "admin@pyairtable.local";
/// What the first token is called.
const TOKEN_NAME: &str = "first";
/// Time for the first user's rights to have gone round by events.
const SETTLE: Duration = Duration::from_secs(20);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(50);
/// Time for one call.
const CALL: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const ANSWER: u64 = 1 << 20;
/// Where the first user is kept, in the state folder.
const FILE: &str = "first-user.json";

/// An Airtable base to connect for the first user.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The base's id.
    pub base: String,
    /// A table of it, for the snippets.
    pub table: String,
    /// A token that Airtable accepts.
    pub token: String,
}

/// The first user, kept in the state folder with mode 0600.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstUser {
    /// Its address.
    pub email: String,
    /// Its password.
    pub password: Option<String>,
    /// Its personal token.
    pub token: Option<String>,
    /// The base that was connected for it.
    #[serde(default)]
    pub base: Option<String>,
}

/// What there is to say once a node is ready.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// URL of the gateway.
    pub gateway: String,
    /// URL of the admin API.
    pub admin: String,
    /// URL of probes and metrics.
    pub observability: String,
    /// The state folder.
    pub state: PathBuf,
    /// A personal token of the first user.
    pub token: Option<String>,
    /// The first user.
    pub user: FirstUser,
    /// A base that the first user may use.
    pub base: Option<String>,
    /// A table of it.
    pub table: Option<String>,
}

impl Node {
    /// Makes the first user if there is none, connects a base for it, and says what there is.
    ///
    /// # Errors
    /// What a service answered, if it did not do its part.
    pub async fn bootstrap(&self, connection: Option<Connection>) -> Result<Ready> {
        let path = self.state_path(FILE);
        let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut user: FirstUser = match kept {
            Some(user) => user,
            None if self.serves("auth-service") => self.make_user().await?,
            None => FirstUser { email: String::new(), password: None, token: None, base: None },
        };
        let keep = |user: &FirstUser| -> Result<()> {
            let text = serde_json::to_vec_pretty(user).unwrap_or_default();
            state::write_private(&path, &text)
                .map_err(|error| codes::INTERNAL.error(error.to_string()))
        };
        if user.token.is_some() {
            keep(&user)?;
        }
        let wanted = connection.as_ref().filter(|wanted| user.base.as_ref() != Some(&wanted.base));
        if let (Some(wanted), Some(token), true) =
            (wanted, &user.token, self.serves("airtable-connector"))
        {
            self.connect(token, wanted).await?;
            user.base = Some(wanted.base.clone());
            keep(&user)?;
        }
        let table = connection.map(|connection| connection.table);
        let addresses = self.addresses();
        let url = |purpose: &str| {
            let found = addresses.iter().find(|(name, _)| name == purpose);
            found.map_or_else(String::new, |(_, address)| format!("http://{address}"))
        };
        Ok(Ready {
            gateway: url("gateway"),
            admin: url("admin"),
            observability: url("observability"),
            state: self.state_folder().to_owned(),
            token: user.token.clone(),
            base: user.base.clone(),
            table,
            user,
        })
    }

    async fn make_user(&self) -> Result<FirstUser> {
        let body = json!({ "email": EMAIL, "name": "Administrator", "token_name": TOKEN_NAME });
        let path = "/internal/v1/auth/bootstrap";
        let (status, answer) =
            self.ask("auth-service", Method::POST, path, Some(&body), None).await?;
        if !status.is_success() {
            return Err(failed("auth-service did not make the first user", status, &answer));
        }
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        Ok(FirstUser {
            email: EMAIL.to_owned(),
            password: text("password"),
            token: text("token"),
            base: None,
        })
    }

    /// Connects a base as the user would, through the gateway. Rights come by events, so that the
    /// first tries may be too early.
    async fn connect(&self, token: &str, connection: &Connection) -> Result<()> {
        let body =
            json!({ "name": "First base", "base_id": connection.base, "token": connection.token });
        let deadline = Deadline::after(SETTLE);
        loop {
            let answer = self
                .ask(GATEWAY, Method::POST, "/api/v1/connections", Some(&body), Some(token))
                .await;
            let error = match answer {
                Ok((status, _)) if status.is_success() || status == StatusCode::CONFLICT => {
                    return Ok(());
                }
                Ok((status, answer)) => {
                    failed("the first base cannot be connected", status, &answer)
                }
                Err(error) => error,
            };
            if deadline.is_over() {
                return Err(error);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Calls a service: as the host itself, or with a token as a client at the gateway.
    async fn ask(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<(StatusCode, Value)> {
        let service: ServiceName =
            service.parse().map_err(|error| codes::INTERNAL.error(format!("{error}")))?;
        let mut request =
            Request::new(body.map_or(Body::Empty, |body| Body::from(body.to_string())));
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{service}{path}")
            .parse()
            .map_err(|_| codes::INTERNAL.error(format!("`{path}` is not a path")))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            let value = header::HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(
                header::AUTHORIZATION,
                value.map_err(|_| codes::INTERNAL.error("the token is no header value"))?,
            );
        }
        let caller = if token.is_some() { Caller::Public } else { Caller::Host };
        let mut context = CallContext::root(caller, Deadline::after(CALL));
        context.priority = Priority::High;
        let call = Call {
            target: Target::Service(service),
            request,
            context,
            attrs: Vec::new(),
            pool: None,
        };
        let response = match token {
            Some(_) => self.gateway().dispatch(call).await?,
            None => self.mesh().dispatch(call).await?,
        };
        let status = response.status();
        let body = response.into_body().collect(ANSWER).await.map_err(Error::from)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

fn failed(what: &str, status: StatusCode, answer: &Value) -> Error {
    let detail = answer["detail"].as_str().or_else(|| answer["error"]["message"].as_str());
    codes::BOOTSTRAP_FAILED
        .error(format!("{what}: {} ({status})", detail.unwrap_or("no reason was given")))
}
