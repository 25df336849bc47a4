//! A new revision under load, and revisions that must be refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use airhost_control::api::{DeployEvent, NodeStatus, ServiceStatus};
use airhost_system_tests::{
    Answer, BASE, Load, Platform, TABLE, changed, component, guest, pack, with_manifest,
};

/// The header of the connector's answers, and what the changed connector calls it.
const OLD: &str = "x-airhost-cache";
const NEW: &str = "x-airhost-store";

fn records() -> String {
    format!("/v0/{BASE}/{TABLE}?maxRecords=1")
}

/// Which revision answered; otherwise the status.
fn judge(answer: &Answer) -> String {
    match answer.status.as_u16() {
        200 if answer.headers.contains_key(NEW) => "new".to_owned(),
        200 if answer.headers.contains_key(OLD) => "old".to_owned(),
        status => status.to_string(),
    }
}

/// The connector as its author might have changed and built it again.
fn changed_connector() -> Vec<u8> {
    changed(&component("airtable-connector"), |component| {
        let places: Vec<usize> = component
            .windows(OLD.len())
            .enumerate()
            .filter_map(|(place, bytes)| (bytes == OLD.as_bytes()).then_some(place))
            .collect();
        assert!(!places.is_empty(), "the connector names its header {OLD}");
        for place in places {
            component[place..place + NEW.len()].copy_from_slice(NEW.as_bytes());
        }
    })
}

async fn connector(platform: &Platform) -> ServiceStatus {
    let status = platform.admin().get::<NodeStatus>("/v1/status").await.unwrap();
    status.services.into_iter().find(|one| one.name.as_str() == "airtable-connector").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_connector_is_swapped() {
    let platform = Platform::start().await;
    let client = platform.client();
    // Fills the cache: what is tested is the host, not Airtable's five requests a second.
    assert_eq!(judge(&client.get(&records()).await), "old");
    let before = connector(&platform).await;

    let load = Load::start(&client, &records(), 64, judge);
    load.seen("old", 64).await;
    let event = platform.deploy(changed_connector(), false).await;
    let DeployEvent::Deployed { service, revision, replaced, live_after_ms, drained_after_ms } =
        event
    else {
        panic!("{event:?}")
    };
    load.seen("new", 64).await;
    let report = load.stop().await;

    assert_eq!(service, before.name);
    assert_eq!(replaced, before.revision, "the old revision has drained");
    assert!(live_after_ms <= drained_after_ms, "{live_after_ms} {drained_after_ms}");
    assert_eq!(report.broken, Vec::<String>::new());
    let words: Vec<&str> = report.seen.keys().map(String::as_str).collect();
    assert_eq!(words, ["new", "old"], "{:?}", report.seen);
    let after = connector(&platform).await;
    assert_eq!(after.revision, Some(revision));
    assert_eq!(judge(&client.get(&records()).await), "new");
    platform.stop().await;
}

/// Deploys and answers why it was refused.
async fn refused(platform: &Platform, artifact: Vec<u8>) -> (String, String) {
    match platform.deploy(artifact, false).await {
        DeployEvent::Refused { code, message, remedy } => {
            assert!(!remedy.is_empty(), "{code} says what to do");
            (code, message)
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_a_sentence_and_the_old_revision_serves_on() {
    let platform = Platform::start().await;
    let connector = component("airtable-connector");

    let (code, message) = refused(&platform, connector[..connector.len() / 2].to_vec()).await;
    assert_eq!(code, "deploy.truncated", "{message}");

    let (code, message) = refused(&platform, b"\0asm\x01\0\0\0".to_vec()).await;
    assert_eq!(code, "deploy.not-a-component", "{message}");

    let (code, message) = refused(&platform, guest("echo")).await;
    assert_eq!(code, "deploy.no-manifest", "{message}");

    let more = with_manifest(
        &connector,
        |text| {
            text.replacen("[[egress]]", "[[egress]]\nhost = \"evil.example.com\"\n\n[[egress]]", 1)
        },
        &[],
    );
    let (code, message) = refused(&platform, more).await;
    assert_eq!(code, "deploy.more-grants", "{message}");
    assert!(message.contains("evil.example.com"), "{message}");

    let broken = with_manifest(&connector, |text| text, &[("9000_broken.sql", "CREATE TABLE (;")]);
    let (code, message) = refused(&platform, broken).await;
    assert!(code == "migration.failed" || code == "deploy.migration", "{code}: {message}");
    assert!(message.contains("9000_broken"), "{message}");

    let unlisted = pack(
        &guest("kv-sql"),
        "name = \"kv-sql\"\nteam = \"tests\"\ndescription = \"Stores.\"\nport = 8199\ncontract = \"0.1\"\n",
    );
    let (code, message) = refused(&platform, unlisted).await;
    assert_eq!(code, "deploy.unlisted-import", "{message}");
    assert!(message.contains("[stores]"), "{message}");

    assert_eq!(platform.client().get(&records()).await.status, 200);
    platform.stop().await;
}
