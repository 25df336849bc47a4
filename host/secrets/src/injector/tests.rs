use std::{collections::BTreeMap, time::Duration};

use airhost_core::{
    CallContext, Caller, Deadline, Request, ServiceName, Target, Tenant, TrustDomain,
};
use airhost_manifest::Manifest;

use super::*;

const MANIFEST: &str = r#"
name = "airtable-connector"
team = "integration"
description = "Talks to Airtable."
port = 8020
contract = "0.1"

[[egress]]
host = "api.airtable.com"
[[egress]]
host = "*.example.com"

[secrets]
names = ["connection/*", "shared/*"]
[[secrets.inject]]
host = "api.airtable.com"
header = "authorization"
value = "Bearer {secret}"
secret = "connection/{scope}"
[[secrets.inject]]
host = "*.example.com"
header = "x-key"
value = "{secret}"
secret = "shared/any"
[[secrets.inject]]
host = "one.example.com"
header = "x-key"
value = "{secret}"
secret = "shared/one"
"#;

struct Fixture {
    _folder: tempfile::TempDir,
    vault: Vault,
    injector: Injector,
    rules: Vec<Injection>,
    service: ServiceName,
    tenant: Tenant,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let fixture = Self {
            injector: Injector::new(vault.clone()),
            vault,
            _folder: folder,
            rules: Manifest::parse("service.toml", MANIFEST).unwrap().secrets.inject,
            service: "airtable-connector".parse().unwrap(),
            tenant: Tenant::new("t1"),
        };
        let owner = Owner { service: &fixture.service, tenant: Some(&fixture.tenant) };
        for (name, value) in [
            ("connection/c1", &b"s3cret"[..]),
            ("connection/c2", b"two\nlines"),
            ("connection/c3", b"\xff"),
            ("shared/any", b"any"),
            ("shared/one", b"one"),
        ] {
            fixture.vault.put(owner, name, value).await.unwrap();
        }
        fixture
    }

    fn call(&self, url: &str, attrs: &[(&str, &str)]) -> Call {
        let identity = TrustDomain::default().identity(&self.service);
        let caller = Caller::Service { name: self.service.clone(), identity };
        let mut context = CallContext::root(caller, Deadline::after(Duration::from_secs(5)));
        context.tenant = Some(self.tenant.clone());
        let mut request = Request::default();
        *request.uri_mut() = url.parse().unwrap();
        let attrs = attrs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Call { target: Target::External, request, context, attrs, pool: None }
    }
}

#[tokio::test]
async fn secrets_go_where_the_rules_say_and_nowhere_else() {
    let fixture = Fixture::new().await;
    let scope = [("secret-scope", "c1")];
    for (url, headers) in [
        ("https://api.airtable.com/v0", vec![("authorization", "Bearer s3cret")]),
        ("https://API.airtable.com:443/v0", vec![("authorization", "Bearer s3cret")]),
        ("https://api.airtable.com:444/v0", vec![]),
        ("https://api.airtable.com.evil.org/", vec![]),
        ("https://evil.org/?api.airtable.com", vec![]),
        ("https://two.example.com/", vec![("x-key", "any")]),
        ("https://one.example.com/", vec![("x-key", "one")]),
        ("https://example.com/", vec![]),
    ] {
        let mut call = fixture.call(url, &scope);
        fixture
            .injector
            .inject(&mut call, &fixture.rules.iter().collect::<Vec<_>>())
            .await
            .unwrap();
        let got: BTreeMap<_, _> = call
            .request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(got, headers.into_iter().collect(), "{url}");
        assert!(call.request.headers().values().all(HeaderValue::is_sensitive));
        assert!(!format!("{call:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_guests_own_field_is_replaced() {
    let fixture = Fixture::new().await;
    let mut call = fixture.call("https://api.airtable.com/", &[("secret-scope", "c1")]);
    for value in ["Bearer mine", "Bearer other"] {
        call.request.headers_mut().append("authorization", HeaderValue::from_static(value));
    }
    call.request.headers_mut().insert("accept", HeaderValue::from_static("x"));
    fixture.injector.inject(&mut call, &fixture.rules.iter().collect::<Vec<_>>()).await.unwrap();
    let values: Vec<_> = call.request.headers().get_all("authorization").iter().collect();
    assert_eq!(values, ["Bearer s3cret"]);
    assert_eq!(call.request.headers()["accept"], "x");
}

#[tokio::test]
async fn what_is_missing_is_named_by_its_rule() {
    let fixture = Fixture::new().await;
    for (scope, code) in [
        (&[][..], &codes::SECRETS_DENIED),
        (&[("secret-scope", "")], &codes::SECRETS_DENIED),
        (&[("secret-scope", "gone")], &codes::SECRETS_NOT_FOUND),
        (&[("secret-scope", "c2")], &codes::SECRETS_VALUE),
        (&[("secret-scope", "c3")], &codes::SECRETS_VALUE),
    ] {
        let mut call = fixture.call("https://api.airtable.com/", scope);
        let error = fixture
            .injector
            .inject(&mut call, &fixture.rules.iter().collect::<Vec<_>>())
            .await
            .unwrap_err();
        assert!(code.is(&error), "{scope:?}: {error}");
        assert!(error.message.contains("`authorization` for `api.airtable.com`"), "{error}");
        assert!(!error.message.contains("lines"));
    }
    let mut other = fixture.call("https://api.airtable.com/", &[("secret-scope", "c1")]);
    other.context.tenant = Some(Tenant::new("t2"));
    let error = fixture
        .injector
        .inject(&mut other, &fixture.rules.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert!(codes::SECRETS_NOT_FOUND.is(&error), "another tenant's secret: {error}");
    other.context.tenant = None;
    let error = fixture
        .injector
        .inject(&mut other, &fixture.rules.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert!(codes::TENANT_MISSING.is(&error));
    other.context.caller = Caller::Public;
    let error = fixture
        .injector
        .inject(&mut other, &fixture.rules.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert!(codes::SECRETS_DENIED.is(&error));
}
