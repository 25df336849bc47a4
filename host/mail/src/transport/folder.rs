//! The embedded engine: a folder of `.eml` files, to be looked at by the console and tests.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use airhost_core::{Result, codes, make_private_folder, write_private_file};
use async_trait::async_trait;
use mail_parser::{Address, MessageParser, MimeHeaders};
use uuid::Uuid;

use super::{OutgoingMail, Transport};

/// A file is at most this large: 10 MiB of content as base64, and fields.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A folder that messages are written into, one file each. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A message in the folder, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSummary {
    /// Names it in the folder.
    pub id: Uuid,
    /// The Message-ID without angle brackets.
    pub message_id: String,
    /// Seconds since the epoch.
    pub date: i64,
    /// The sender's address.
    pub from: String,
    /// Addresses in `to` and `cc`.
    pub to: Vec<String>,
    /// The subject, decoded.
    pub subject: String,
    /// Bytes of the file.
    pub size: u64,
}

/// A file that goes along with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentInfo {
    /// Its name.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A message in the folder, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMail {
    /// In short.
    pub summary: MailSummary,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// All fields by name, in order, decoded as far as text goes.
    pub headers: Vec<(String, String)>,
    /// What goes along.
    pub attachments: Vec<AttachmentInfo>,
    /// The file's bytes.
    pub raw: Vec<u8>,
}

impl Folder {
    /// A folder; made if need be, for the owner only.
    ///
    /// # Errors
    /// `mail.unavailable`, where it cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        make_private_folder(&path).map_err(unavailable)?;
        Ok(Self(path))
    }

    /// The newest messages, newest first, at most `max` (no more than 200), older than `before`.
    ///
    /// # Errors
    /// `mail.unavailable`, where the folder cannot be read. A file that is no message is left out.
    pub async fn list(&self, before: Option<Uuid>, max: usize) -> Result<Vec<MailSummary>> {
        let path = self.0.clone();
        blocking(move || {
            let mut ids = Vec::new();
            for entry in fs::read_dir(&path)? {
                let name = entry?.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(".eml"));
                ids.extend(id.and_then(|id| Uuid::parse_str(id).ok()));
            }
            ids.retain(|id| before.is_none_or(|before| *id < before));
            // Version 7 ids sort by time.
            ids.sort_unstable_by(|a, b| b.cmp(a));
            ids.truncate(max.min(200));
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                match read(&path, id) {
                    Ok(raw) => found.extend(parse(id, &raw).map(|mail| mail.summary)),
                    // Removed since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        })
        .await
    }

    /// A message, if there is one of this id.
    ///
    /// # Errors
    /// `mail.unavailable`, where it cannot be read.
    pub async fn read(&self, id: Uuid) -> Result<Option<StoredMail>> {
        let path = self.0.clone();
        blocking(move || match read(&path, id) {
            Ok(raw) => Ok(parse(id, &raw)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }
}

#[async_trait]
impl Transport for Folder {
    async fn deliver(&self, mail: &OutgoingMail) -> Result<()> {
        let (path, id, content) = (self.0.clone(), mail.id, mail.content.clone());
        blocking(move || write(&path, id, &content)).await
    }
}

/// The same message again replaces itself.
fn write(folder: &Path, id: Uuid, content: &[u8]) -> io::Result<()> {
    write_private_file(&folder.join(format!("{id}.eml")), content)
}

fn read(folder: &Path, id: Uuid) -> io::Result<Vec<u8>> {
    let file = File::open(folder.join(format!("{id}.eml")))?;
    let mut raw = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut raw)?;
    Ok(raw)
}

fn parse(id: Uuid, raw: &[u8]) -> Option<StoredMail> {
    let message = MessageParser::default().parse(raw)?;
    let summary = MailSummary {
        id,
        message_id: message.message_id().unwrap_or_default().to_owned(),
        date: message.date().map_or(0, mail_parser::DateTime::to_timestamp),
        from: addresses(message.from()).into_iter().next().unwrap_or_default(),
        to: [addresses(message.to()), addresses(message.cc())].concat(),
        subject: message.subject().unwrap_or_default().to_owned(),
        size: raw.len() as u64,
    };
    let attachments = message.attachments().map(|part| AttachmentInfo {
        filename: part.attachment_name().unwrap_or_default().to_owned(),
        content_type: part.content_type().map_or_else(String::new, |media| {
            format!("{}/{}", media.ctype(), media.subtype().unwrap_or_default())
        }),
        content: part.contents().to_vec(),
    });
    let headers = message
        .headers_raw()
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    // Without an HTML part the parser makes one of the text.
    let has_html = message
        .html_body
        .iter()
        .any(|at| message.part(*at).is_some_and(mail_parser::MessagePart::is_text_html));
    Some(StoredMail {
        summary,
        text: message.body_text(0).map_or_else(String::new, Into::into),
        html: has_html.then(|| message.body_html(0).map_or_else(String::new, Into::into)),
        headers,
        attachments: attachments.collect(),
        raw: raw.to_vec(),
    })
}

fn addresses(address: Option<&Address<'_>>) -> Vec<String> {
    let all = address.into_iter().flat_map(Address::iter);
    all.filter_map(|one| one.address().map(str::to_owned)).collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(unavailable),
        Err(_) => Err(codes::MAIL_UNAVAILABLE.error("the mail folder's work was cut off")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unavailable(error: io::Error) -> airhost_core::Error {
    tracing::warn!(%error, "the mail folder cannot be read or written");
    codes::MAIL_UNAVAILABLE.error("the mail folder cannot be read or written")
}
