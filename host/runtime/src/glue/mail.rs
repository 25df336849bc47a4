//! `mail/mailer`.

use airhost_core::codes;
use airhost_mail::{Attachment, Message};
use airhost_telemetry::trace::Kind;
use wasmtime::component::Resource;

use super::{Answer, sql::Transaction};
use crate::{bindings::imports::pyairtable::mail::mailer as wit, state::State, trace::spanned};

impl wit::Host for State {
    async fn send(
        &mut self,
        message: wit::Message,
        tx: Option<Resource<Transaction>>,
    ) -> Answer<String> {
        let tx = self.transaction(tx.as_ref())?;
        let Some(mailer) = &self.service.environment.mailer else {
            return Err(codes::IMPORT_DENIED
                .error("the manifest has no `mail` under [grants]")
                .into());
        };
        let attachment = |it: wit::Attachment| Attachment {
            filename: it.filename,
            content_type: it.content_type,
            content: it.content,
        };
        let message = Message {
            from: message.from,
            to: message.to,
            cc: message.cc,
            reply_to: message.reply_to,
            subject: message.subject,
            text: message.text,
            html: message.html,
            attachments: message.attachments.into_iter().map(attachment).collect(),
            headers: message.headers,
        };
        let sent = mailer.send(message, &self.call.context, tx.as_deref());
        Ok(spanned(self.span(Kind::Publish, "mail"), sent).await?)
    }
}
