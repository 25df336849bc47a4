//! `events/bus`.

use std::sync::Arc;

use airhost_core::codes;
use wasmtime::component::Resource;

use super::{Answer, sql::Transaction};
use crate::{bindings::imports::pyairtable::events::bus as wit, state::State, trace::spanned};

impl wit::Host for State {
    async fn publish(
        &mut self,
        event: wit::Event,
        tx: Option<Resource<Transaction>>,
    ) -> Answer<String> {
        let tx = self.transaction(tx.as_ref())?;
        let service = Arc::clone(&self.service);
        let Some(outbox) = &service.environment.outbox else {
            return Err(codes::IMPORT_DENIED
                .error("the manifest has no `out` under [events]")
                .into());
        };
        let event = airhost_events::Event {
            topic: event.topic,
            subject: event.subject,
            data: event.data,
            attrs: event.attrs,
        };
        let span = self.publication(&event.topic);
        let outer = std::mem::replace(&mut self.call.context.trace, span.context());
        let published = outbox.publish(event, &self.call.context, tx.as_deref());
        let id = spanned(span, published).await;
        self.call.context.trace = outer;
        Ok(id?.to_string())
    }
}
