//! A runtime with guests, and calls to them.
#![allow(
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "each test binary uses a part of it"
)]

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use airhost_core::{
    Body, Call, CallContext, Caller, Deadline, Dispatch, Error, Principal, Request, Response,
    Result, Revision, ServiceName, Target, Tenant, codes,
};
use airhost_runtime::{
    Activation, CacheKey, Config, Deployment, Instances, Language, Limits, Loaded, Reservation,
    Runtime, ServiceEnvironment,
};
use airhost_telemetry::Telemetry;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Response>> + Send + Sync>;

/// Where guests' calls go: native handlers by name, or the runtime itself.
#[derive(Default)]
pub struct Outbound {
    runtime: OnceLock<Weak<Runtime>>,
    handlers: Mutex<HashMap<String, Handler>>,
}

#[async_trait]
impl Dispatch for Outbound {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let Target::Service(name) = &call.target else {
            return Err(codes::CALL_DENIED.error("no host outside is granted"));
        };
        let handler = self.handlers.lock().get(name.as_str()).cloned();
        match handler {
            Some(handler) => handler(call).await,
            None => {
                self.runtime.get().and_then(Weak::upgrade).expect("a runtime").dispatch(call).await
            }
        }
    }
}

pub struct Host {
    pub runtime: Arc<Runtime>,
    pub outbound: Arc<Outbound>,
}

pub fn config() -> Config {
    Config {
        reservation: Reservation { instances: 300, ..Reservation::default() },
        ..Config::new(CacheKey::new([7; 32]), Telemetry::discard())
    }
}

impl Host {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let runtime = Runtime::new(config).expect("a runtime");
        let outbound = Arc::new(Outbound::default());
        outbound.runtime.set(Arc::downgrade(&runtime)).expect("once");
        Self { runtime, outbound }
    }

    /// A service that is native code.
    pub fn native<F>(&self, name: &str, handler: impl Fn(Call) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.outbound.handlers.lock().insert(name.to_owned(), handler);
    }

    pub fn deployment(&self, name: &str, guest: &str) -> Deployment {
        let component =
            Bytes::from(std::fs::read(airhost_test_guests::guest(guest)).expect("a guest"));
        Deployment {
            service: service(name),
            revision: Revision::of(&component),
            component,
            instances: Instances::Auto,
            language: Language::Compiled,
            limits: Limits::default(),
            pools: Vec::new(),
            environment: ServiceEnvironment::new(self.outbound.clone()),
        }
    }

    pub async fn load(&self, deployment: Deployment) -> Loaded {
        self.runtime.load(deployment).await.expect("a component that loads")
    }

    pub async fn deploy_with(
        &self,
        name: &str,
        guest: &str,
        change: impl FnOnce(&mut Deployment),
    ) -> Activation {
        let mut deployment = self.deployment(name, guest);
        change(&mut deployment);
        let loaded = self.load(deployment).await;
        self.runtime.activate(loaded)
    }

    pub async fn deploy(&self, name: &str, guest: &str) -> Activation {
        self.deploy_with(name, guest, |_| {}).await
    }

    pub async fn get(&self, name: &str, path: &str) -> Answer {
        self.send(call(name, "GET", path, Body::Empty)).await.expect("an answer")
    }

    pub async fn send(&self, call: Call) -> Result<Answer> {
        Answer::of(self.runtime.dispatch(call).await?).await
    }
}

/// A response whose body was read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn of(response: Response) -> Result<Self> {
        let (parts, body) = response.into_parts();
        let body = body.collect(64 << 20).await.map_err(Error::from)?;
        Ok(Self { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    /// The code of a problem response.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn service(name: &str) -> ServiceName {
    name.parse().expect("a name")
}

pub fn call(name: &str, method: &str, path: &str, body: Body) -> Call {
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().expect("a method");
    *request.uri_mut() = format!("http://{name}{path}").parse().expect("a URI");
    Call {
        target: Target::Service(service(name)),
        request,
        context: CallContext::root(Caller::Public, Deadline::after(Duration::from_secs(30))),
        attrs: Vec::new(),
        pool: None,
    }
}

pub fn as_tenant(mut call: Call, tenant: &str) -> Call {
    let tenant = Tenant::new(tenant);
    call.context.tenant = Some(tenant.clone());
    call.context.principal = Some(Arc::new(Principal {
        subject: "user".to_owned(),
        issuer: "test".to_owned(),
        tenant,
        roles: Vec::new(),
        scopes: Vec::new(),
        session: None,
        expires_at: u64::MAX,
        claims: Vec::new(),
    }));
    call
}
