//! A new revision under load, and revisions that must be refused.

use airhost_control::api::DeployEvent;
use airhost_system_tests::{
    Answer, BASE, Load, Platform, TABLE, component, guest, pack, with_manifest,
};

fn records() -> String {
    format!("/v0/{BASE}/{TABLE}?maxRecords=1")
}

/// The status, and which revision's configuration answered.
fn judge(answer: &Answer) -> String {
    answer.status.as_u16().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_connector_is_swapped() {
    let platform = Platform::start().await;
    let client = platform.client();
    // Fills the cache: what is tested is the host, not Airtable's five requests a second.
    let first = client.get(&records()).await;
    assert_eq!(first.status, 200, "{first:?}");

    let load = Load::start(&client, &records(), 64, judge);
    let before =
        platform.admin().get::<airhost_control::api::NodeStatus>("/v1/status").await.unwrap();
    let changed = with_manifest(
        &component("airtable-connector"),
        |text| text.replace("description = \"", "description = \"Changed. "),
        &[],
    );
    let event = platform.deploy(changed, false).await;
    let DeployEvent::Deployed { service, revision, replaced, .. } = event else {
        panic!("{event:?}")
    };
    let report = load.stop().await;

    assert_eq!(service.as_str(), "airtable-connector");
    let old = before.services.iter().find(|one| one.name == service).and_then(|one| one.revision);
    assert_eq!(replaced, old);
    assert_eq!(report.broken, Vec::<String>::new());
    // Fair limits may tell a client to come back; nothing else than an answer may be seen.
    assert!(
        report.seen.keys().all(|status| status == "200" || status == "429"),
        "{:?}",
        report.seen
    );
    assert!(report.answers() > 64, "{report:?}");
    let after =
        platform.admin().get::<airhost_control::api::NodeStatus>("/v1/status").await.unwrap();
    let after = after.services.iter().find(|one| one.name == service).unwrap();
    assert_eq!(after.revision, Some(revision));
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
