//! From a service's message to the bytes of RFC 5322, with everything checked on the way.

use std::time::{Duration, SystemTime};

use airhost_core::{Error, Result, codes};
use lettre::message::{
    Attachment as AttachedFile, Mailbox, MessageBuilder, MultiPart, SinglePart,
    header::{ContentType, HeaderName, HeaderValue},
};
use uuid::Uuid;

use crate::Message;

/// Most mailboxes in `to`, and in `cc`.
const MOST_MAILBOXES: usize = 50;
/// Largest content of a message before it is encoded, in bytes.
const MOST_BYTES: usize = 10 * 1024 * 1024;
/// Longest value of a field, in bytes (RFC 5322, 2.1.1: a line has at most 998 characters).
const LONGEST_FIELD: usize = 998;
/// Most further fields.
const MOST_FIELDS: usize = 32;

/// Fields that the host writes itself, or that others add on the way. `content-` and `resent-`
/// are refused as a whole.
const STRUCTURAL: &[&str] = &[
    "bcc",
    "cc",
    "date",
    "dkim-signature",
    "from",
    "message-id",
    "mime-version",
    "received",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
];

/// What messages are made with.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The mailbox of messages that name none.
    pub from: String,
    /// The right side of a Message-ID.
    pub domain: String,
}

/// A message ready for delivery.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    /// UUIDv7, the left side of the Message-ID.
    pub(crate) id: Uuid,
    /// Addresses of the SMTP envelope.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
}

/// Checks a message and writes it down.
pub(crate) fn compose(message: &Message, sender: &Sender, now_micros: i64) -> Result<Composed> {
    check_size(message)?;
    let id = Uuid::now_v7();
    let from = mailbox(message.from.as_deref().unwrap_or(&sender.from))?;
    let to = mailboxes(&message.to)?;
    let cc = mailboxes(&message.cc)?;
    if to.is_empty() {
        return Err(codes::MAIL_ADDRESS.error("a message has 1 to 50 recipients"));
    }
    let recipients = to.iter().chain(&cc).map(|mailbox| mailbox.email.to_string()).collect();
    let since_epoch = Duration::from_micros(u64::try_from(now_micros).unwrap_or(0));
    let mut builder = lettre::Message::builder()
        .message_id(Some(format!("<{id}@{}>", sender.domain)))
        .date(SystemTime::UNIX_EPOCH + since_epoch)
        .from(from.clone())
        .subject(field_value(&message.subject)?);
    for mailbox in to {
        builder = builder.to(mailbox);
    }
    for mailbox in cc {
        builder = builder.cc(mailbox);
    }
    if let Some(reply_to) = &message.reply_to {
        builder = builder.reply_to(mailbox(reply_to)?);
    }
    for header in fields(&message.headers)? {
        builder = builder.raw_header(header);
    }
    let content = body(builder, message)?.formatted();
    Ok(Composed { id, sender: from.email.to_string(), recipients, content })
}

fn check_size(message: &Message) -> Result<()> {
    let attached: usize =
        message.attachments.iter().map(|file| file.content.len() + file.filename.len()).sum();
    let fields: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let html = message.html.as_ref().map_or(0, String::len);
    let size = message.text.len() + html + attached + fields + message.subject.len();
    if size > MOST_BYTES || message.attachments.len() > 100 {
        return Err(codes::MAIL_TOO_LARGE.error("a message is at most 10 MiB with 100 attachments"));
    }
    Ok(())
}

fn mailboxes(texts: &[String]) -> Result<Vec<Mailbox>> {
    if texts.len() > MOST_MAILBOXES {
        return Err(codes::MAIL_ADDRESS.error("a message has at most 50 recipients of a kind"));
    }
    texts.iter().map(|text| mailbox(text)).collect()
}

fn mailbox(text: &str) -> Result<Mailbox> {
    // The message names no address: it would end in logs.
    let invalid = || codes::MAIL_ADDRESS.error("a mailbox is not valid");
    if text.len() > LONGEST_FIELD || text.chars().any(char::is_control) {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}

/// A value without what could end its line and begin another field.
fn field_value(value: &str) -> Result<String> {
    if value.len() > LONGEST_FIELD || value.chars().any(char::is_control) {
        return Err(codes::MAIL_HEADER
            .error("a header field has at most 998 bytes and no line break or control character"));
    }
    Ok(value.to_owned())
}

fn fields(given: &[(String, String)]) -> Result<Vec<HeaderValue>> {
    if given.len() > MOST_FIELDS {
        return Err(codes::MAIL_HEADER.error("a message has at most 32 further header fields"));
    }
    let field = |(name, value): &(String, String)| {
        let refused = || {
            codes::MAIL_HEADER.error(format!("the header field {:.80} is refused", printable(name)))
        };
        let lower = name.to_ascii_lowercase();
        let named = (1..=76).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let structural = STRUCTURAL.contains(&lower.as_str())
            || lower.starts_with("content-")
            || lower.starts_with("resent-");
        if !named || structural {
            return Err(refused());
        }
        let name = HeaderName::new_from_ascii(name.clone()).map_err(|_| refused())?;
        Ok(HeaderValue::new(name, field_value(value)?))
    };
    given.iter().map(field).collect()
}

fn body(builder: MessageBuilder, message: &Message) -> Result<lettre::Message> {
    let text = || SinglePart::plain(message.text.clone());
    let both = message
        .html
        .as_ref()
        .map(|html| MultiPart::alternative_plain_html(message.text.clone(), html.clone()));
    let built = if message.attachments.is_empty() {
        match both {
            Some(both) => builder.multipart(both),
            None => builder.singlepart(text()),
        }
    } else {
        let mixed = MultiPart::mixed();
        let mut mixed = match both {
            Some(both) => mixed.multipart(both),
            None => mixed.singlepart(text()),
        };
        for file in &message.attachments {
            mixed = mixed.singlepart(attachment(file)?);
        }
        builder.multipart(mixed)
    };
    built.map_err(|_| codes::MAIL_ADDRESS.error("the message's mailboxes are not valid together"))
}

fn attachment(file: &crate::Attachment) -> Result<SinglePart> {
    let named = (1..=255).contains(&file.filename.len())
        && !file.filename.contains(['/', '\\'])
        && !file.filename.chars().any(char::is_control);
    let media = ContentType::parse(&file.content_type);
    // An attached message or multipart would be read as structure.
    let lower = file.content_type.trim_start().to_ascii_lowercase();
    let plain = !lower.starts_with("multipart/") && !lower.starts_with("message/");
    match media {
        Ok(media) if named && plain && !file.content_type.chars().any(char::is_control) => {
            Ok(AttachedFile::new(file.filename.clone()).body(file.content.clone(), media))
        }
        _ => Err(refused_attachment()),
    }
}

fn refused_attachment() -> Error {
    codes::MAIL_HEADER.error("an attachment's name or media type is not valid")
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests;
