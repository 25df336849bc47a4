use std::sync::Arc;
use std::time::Duration;

use airhost_core::{Caller, Deadline, Principal, TrustDomain};

use super::*;

fn context() -> CallContext {
    let mut context = CallContext::root(Caller::Host, Deadline::after(Duration::from_secs(1)));
    context.tenant = Some(Tenant::new("t-1"));
    context.principal = Some(Arc::new(Principal {
        subject: "user-7".into(),
        issuer: "https://issuer".into(),
        tenant: Tenant::new("t-1"),
        roles: vec![],
        scopes: vec![],
        session: None,
        expires_at: 0,
        claims: vec![],
    }));
    context
}

fn event(data: &str) -> Event {
    Event {
        topic: "user.registered".into(),
        subject: "user-7".into(),
        data: data.into(),
        attrs: vec![],
    }
}

fn seal(event: Event) -> Result<Envelope> {
    let source = TrustDomain::default().identity(&"auth-service".parse().expect("a name"));
    Envelope::seal(event, &source, &context(), 1_700_000_000_123_456, Some("urn:schema".into()))
}

#[tokio::test]
async fn an_envelope_is_a_cloudevent_and_reads_back() {
    let mut given = event(r#"{"email":"a@b.c","n":12345678901234567890.5}"#);
    given.attrs = vec![("plan".into(), "pro".into())];
    let envelope = seal(given).expect("sealed");
    assert_eq!(envelope.id.get_version_num(), 7);

    let json = envelope.to_json();
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["specversion"], "1.0");
    assert_eq!(value["type"], "user.registered");
    assert_eq!(value["source"], "spiffe://cluster.local/ns/pyairtable/sa/auth-service");
    assert_eq!(value["time"], "2023-11-14T22:13:20.123456Z");
    assert_eq!(value["tenantid"], "t-1");
    assert_eq!(value["actor"], "user-7");
    assert_eq!(value["plan"], "pro");
    assert_eq!(value["dataschema"], "urn:schema");
    assert_eq!(value["data"]["email"], "a@b.c");

    let back = Envelope::from_json(&json).expect("read back");
    assert_eq!(back.to_json(), json);
    assert_eq!(back.data.get(), r#"{"email":"a@b.c","n":12345678901234567890.5}"#);
    assert_eq!((back.trace, back.time), (envelope.trace, envelope.time));
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let attr =
        |name: &str, value: &str| Event { attrs: vec![(name.into(), value.into())], ..event("{}") };
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(Envelope::MAX_DATA));
    for (given, code) in [
        (event("[1]"), "events.schema"),
        (event("{"), "events.schema"),
        (event("{} {}"), "events.schema"),
        (event(&large), "events.too-large"),
        (Event { subject: String::new(), ..event("{}") }, "events.schema"),
        (Event { subject: "x".repeat(513), ..event("{}") }, "events.schema"),
        (attr("id", "1"), "events.schema"),
        (attr("Upper", "1"), "events.schema"),
        (attr("", "1"), "events.schema"),
        (attr("line", "a\nb"), "events.schema"),
        (
            Event {
                attrs: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
                ..event("{}")
            },
            "events.schema",
        ),
    ] {
        let shown = format!("{:.60}", format!("{given:?}"));
        assert_eq!(seal(given).expect_err(&shown).code, code, "{shown}");
    }
}

#[test]
fn a_foreign_text_is_not_an_envelope() {
    for bad in ["", "{}", "[]", r#"{"specversion":"0.3"}"#] {
        assert!(Envelope::from_json(bad).is_err(), "{bad}");
    }
}
