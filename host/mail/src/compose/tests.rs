use mail_parser::{MessageParser, MimeHeaders};

use super::*;
use crate::Attachment;

fn sender() -> Sender {
    Sender { from: "PyAirtable <no-reply@example.org>".into(), domain: "mail.example.org".into() }
}

fn message() -> Message {
    Message {
        to: vec!["Ann Öst <ann@example.org>".into(), "bob@example.org".into()],
        subject: "Grüße".into(),
        text: "Hello\n.\nFrom here".into(),
        ..Message::default()
    }
}

fn composed(message: &Message) -> Result<Composed> {
    compose(message, &sender(), 1_700_000_000_000_000)
}

#[test]
fn a_message_reads_back_as_it_was_given() {
    let given = Message {
        cc: vec!["carl@example.org".into()],
        reply_to: Some("help@example.org".into()),
        html: Some("<p>Hello</p>".into()),
        attachments: vec![Attachment {
            filename: "übersicht.csv".into(),
            content_type: "text/csv".into(),
            content: b"a,b\r\n1,2\r\n".to_vec(),
        }],
        headers: vec![("List-Unsubscribe".into(), "<https://example.org/u?t=1>".into())],
        ..message()
    };
    let mail = composed(&given).expect("composed");
    assert_eq!(mail.sender, "no-reply@example.org");
    assert_eq!(mail.recipients, ["ann@example.org", "bob@example.org", "carl@example.org"]);
    let read = MessageParser::default().parse(&mail.content).expect("a message");
    assert_eq!(read.subject(), Some("Grüße"));
    assert_eq!(read.message_id(), Some(format!("{}@mail.example.org", mail.id).as_str()));
    assert_eq!(read.date().expect("a date").to_timestamp(), 1_700_000_000);
    assert_eq!(read.from().and_then(|from| from.first()?.address()), Some("no-reply@example.org"));
    assert_eq!(read.to().and_then(|to| to.first()?.name()), Some("Ann Öst"));
    assert_eq!(read.reply_to().and_then(|to| to.first()?.address()), Some("help@example.org"));
    assert_eq!(
        read.body_text(0).expect("text").replace("\r\n", "\n").trim_end(),
        "Hello\n.\nFrom here"
    );
    assert_eq!(read.body_html(0).expect("html").trim_end(), "<p>Hello</p>");
    assert_eq!(
        read.header_raw("List-Unsubscribe").map(str::trim),
        Some("<https://example.org/u?t=1>")
    );
    let file = read.attachments().next().expect("an attachment");
    assert_eq!(
        (file.attachment_name(), file.contents()),
        (Some("übersicht.csv"), &b"a,b\r\n1,2\r\n"[..])
    );
}

#[test]
fn no_line_ends_where_another_field_could_begin() {
    let with = |change: fn(&mut Message)| {
        let mut message = message();
        change(&mut message);
        message
    };
    let header = |name: &str, value: &str| Message {
        headers: vec![(name.into(), value.into())],
        ..message()
    };
    let file = |filename: &str, content_type: &str| Message {
        attachments: vec![Attachment {
            filename: filename.into(),
            content_type: content_type.into(),
            content: Vec::new(),
        }],
        ..message()
    };
    for (given, code) in [
        (with(|m| m.subject = "a\r\nBcc: x@example.org".into()), "mail.header"),
        (with(|m| m.subject = "a\nb".into()), "mail.header"),
        (with(|m| m.subject = "a\0b".into()), "mail.header"),
        (with(|m| m.to = vec!["a@example.org\r\nBcc: x@example.org".into()]), "mail.address"),
        (with(|m| m.to = vec!["a@example.org, b@example.org".into()]), "mail.address"),
        (with(|m| m.to = vec!["nobody".into()]), "mail.address"),
        (with(|m| m.to = Vec::new()), "mail.address"),
        (with(|m| m.to = vec!["a@example.org".into(); 51]), "mail.address"),
        (with(|m| m.cc = vec!["a@example.org".into(); 51]), "mail.address"),
        (with(|m| m.reply_to = Some("a@example.org\n".into())), "mail.address"),
        (with(|m| m.from = Some(String::new())), "mail.address"),
        (with(|m| m.text = "x".repeat(10 * 1024 * 1024)), "mail.too-large"),
        (header("X-A", "1\r\nBcc: x@example.org"), "mail.header"),
        (header("X-A: 1\r\nBcc", "x@example.org"), "mail.header"),
        (header("X A", "1"), "mail.header"),
        (header("", "1"), "mail.header"),
        (header("BCC", "x@example.org"), "mail.header"),
        (header("from", "x@example.org"), "mail.header"),
        (header("Content-Type", "text/html"), "mail.header"),
        (header("Resent-To", "x@example.org"), "mail.header"),
        (header("X-A", &"x".repeat(999)), "mail.header"),
        (file("a\r\nX: 1", "text/plain"), "mail.header"),
        (file("../a", "text/plain"), "mail.header"),
        (file("a", "text/plain\r\nX: 1"), "mail.header"),
        (file("a", "nothing"), "mail.header"),
        (file("a", "Message/RFC822"), "mail.header"),
    ] {
        let error = composed(&given).map(|mail| String::from_utf8(mail.content)).expect_err(code);
        assert_eq!(error.code, code, "{given:?}");
        assert!(!error.message.contains("x@example.org"), "{}", error.message);
    }
}
