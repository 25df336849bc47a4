use std::{os::unix::fs::PermissionsExt, path::Path};

use airhost_core::{Backoff, Caller, Deadline};
use airhost_storage::sql::{Sqlite, SqliteConfig};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Folder, OutgoingMail, SCHEMA, Transport};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn context() -> CallContext {
    CallContext::root(Caller::Host, soon())
}

fn message(subject: &str) -> Message {
    Message {
        to: vec!["ann@example.org".into()],
        subject: subject.into(),
        text: "Hello".into(),
        ..Message::default()
    }
}

async fn outbox(folder: &Path, clock: Clock) -> MailOutbox {
    let config = SqliteConfig::new(folder.join("service.db")).with_host_schemas([SCHEMA]);
    let database = Arc::new(Sqlite::open(config).await.expect("a database"));
    let sender = Sender { from: "no-reply@example.org".into(), domain: "example.org".into() };
    MailOutbox::new("auth-service".parse().expect("a name"), sender, database, clock)
}

fn folder(path: &Path) -> Folder {
    Folder::open(path.join("mail")).expect("a folder")
}

async fn drain(relay: &MailRelay) {
    while relay.deliver_next().await.expect("the database answers") {}
}

async fn count(outbox: &MailOutbox, table: &str) -> Value {
    let sql = format!("SELECT count(*) FROM {table}");
    outbox.database.host_query(&sql, Vec::new(), soon()).await.expect("a count").rows[0][0].clone()
}

#[tokio::test]
async fn a_message_is_delivered_if_and_only_if_its_transaction_commits() {
    let path = tempfile::tempdir().expect("a folder");
    let (outbox, folder) = (outbox(path.path(), Clock::system()).await, folder(path.path()));
    let relay =
        MailRelay::new(outbox.clone(), Arc::new(folder.clone()), MailRelayConfig::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(relay.clone().run(stop.clone()));

    let tx = outbox.database.begin(Access::Write, soon()).await.expect("a transaction");
    outbox.send(message("undone"), &context(), Some(tx.as_ref())).await.expect("accepted");
    tx.rollback().await.expect("rolled back");
    let tx = outbox.database.begin(Access::Write, soon()).await.expect("a transaction");
    let id = outbox.send(message("first"), &context(), Some(tx.as_ref())).await.expect("accepted");
    assert!(folder.list(None, 10).await.expect("a list").is_empty());
    tx.commit().await.expect("committed");
    outbox.send(message("second"), &context(), None).await.expect("accepted");

    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while relay.status().delivered < 2 {
        assert!(tokio::time::Instant::now() < limit, "{:?}", relay.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    task.await.expect("ends");
    let listed = folder.list(None, 10).await.expect("a list");
    let subjects: Vec<_> = listed.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects, ["second", "first"]);
    assert_eq!(listed[1].message_id, id);
    assert_eq!(
        (listed[1].from.as_str(), listed[1].to.as_slice()),
        ("no-reply@example.org", &["ann@example.org".to_owned()][..])
    );
    assert_eq!(folder.list(Some(listed[0].id), 10).await.expect("a list"), listed[1..]);

    let read = folder.read(listed[1].id).await.expect("read").expect("it is there");
    assert_eq!((read.text.trim_end(), read.html), ("Hello", None));
    assert!(read.headers.iter().any(|(name, value)| name == "Subject" && value == "first"));
    assert!(folder.read(uuid::Uuid::now_v7()).await.expect("read").is_none());
    let file = path.path().join(format!("mail/{}.eml", listed[0].id));
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&path.path().join("mail"))), (0o600, 0o700));
    assert_eq!(count(&outbox, "_airhost_mail").await, Value::Bigint(0));
    assert_eq!(count(&outbox, "_airhost_mail_parts").await, Value::Bigint(0));
}

#[tokio::test]
async fn a_large_message_arrives_whole_and_twice_is_once() {
    let path = tempfile::tempdir().expect("a folder");
    let (outbox, folder) = (outbox(path.path(), Clock::system()).await, folder(path.path()));
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let attachment = crate::Attachment {
        filename: "data.bin".into(),
        content_type: "application/octet-stream".into(),
        content: content.clone(),
    };
    let large = Message { attachments: vec![attachment], ..message("large") };
    outbox.send(large, &context(), None).await.expect("accepted");

    /// Delivers twice, as after a crash between delivery and removal.
    struct Twice(Folder);
    #[async_trait]
    impl Transport for Twice {
        async fn deliver(&self, mail: &OutgoingMail) -> Result<()> {
            self.0.deliver(mail).await?;
            self.0.deliver(mail).await
        }
    }
    let relay = MailRelay::new(outbox, Arc::new(Twice(folder.clone())), MailRelayConfig::default());
    drain(&relay).await;
    let listed = folder.list(None, 10).await.expect("a list");
    assert_eq!(listed.len(), 1);
    let read = folder.read(listed[0].id).await.expect("read").expect("it is there");
    assert_eq!(read.attachments[0].content, content);
}

#[tokio::test]
async fn what_cannot_be_delivered_is_tried_for_a_day() {
    /// Refuses everything with one code.
    struct Broken(&'static codes::Code, Mutex<u32>);
    #[async_trait]
    impl Transport for Broken {
        async fn deliver(&self, _: &OutgoingMail) -> Result<()> {
            *self.1.lock() += 1;
            Err(self.0.error("no"))
        }
    }
    let path = tempfile::tempdir().expect("a folder");
    let now = Arc::new(std::sync::atomic::AtomicI64::new(1_700_000_000_000_000));
    let hands = Arc::clone(&now);
    let clock = Clock::of(move || hands.load(std::sync::atomic::Ordering::SeqCst));
    let outbox = outbox(path.path(), clock).await;
    outbox.send(message("a"), &context(), None).await.expect("accepted");
    let config = MailRelayConfig {
        backoff: Backoff::new(Duration::from_secs(5), Duration::from_secs(3_600)),
        ..MailRelayConfig::default()
    };
    let broken = Arc::new(Broken(&codes::MAIL_UNAVAILABLE, Mutex::new(0)));
    let relay = MailRelay::new(outbox.clone(), broken.clone(), config);
    drain(&relay).await;
    drain(&relay).await;
    assert_eq!(*broken.1.lock(), 1, "not before its back-off");
    for _ in 0..24 {
        now.fetch_add(3_600_000_000, std::sync::atomic::Ordering::SeqCst);
        drain(&relay).await;
    }
    assert_eq!((*broken.1.lock(), relay.status().given_up), (25, 1));
    assert_eq!(
        count(&outbox, "_airhost_mail").await,
        Value::Bigint(1),
        "it is known that it failed"
    );
    assert_eq!(count(&outbox, "_airhost_mail_parts").await, Value::Bigint(0));

    outbox.send(message("b"), &context(), None).await.expect("accepted");
    let refused = Arc::new(Broken(&codes::MAIL_ADDRESS, Mutex::new(0)));
    let relay = MailRelay::new(outbox, refused, config);
    drain(&relay).await;
    assert_eq!(relay.status().given_up, 1, "what is refused for good is not tried again");
}
