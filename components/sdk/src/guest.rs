//! The exports: each world's trait, for the type that `service!` makes.

use crate::{
    Service,
    bindings::{consumer, describe, http, job, lifecycle, pyairtable as wit, subject, tick},
    events,
    http::{Reply, dispatch},
    jobs,
};

/// The type that stands for a component.
pub trait Exported {
    /// What it offers.
    fn service() -> &'static Service;
}

type Error = wit::types::errors::Error;

impl<T: Exported> http::exports::pyairtable::service::handler::Guest for T {
    fn handle(
        request: wit::service::http::Request,
        responder: wit::service::http::Responder,
    ) -> Result<Reply, Error> {
        Ok(dispatch(T::service(), request, responder))
    }
}

impl<T: Exported> consumer::exports::pyairtable::events::consumer::Guest for T {
    fn consume(
        deliveries: Vec<consumer::exports::pyairtable::events::consumer::Delivery>,
        tx: Option<&wit::storage::sql::Transaction>,
    ) -> Vec<consumer::exports::pyairtable::events::consumer::Outcome> {
        events::consume(T::service(), deliveries, tx)
    }
}

impl<T: Exported> job::exports::pyairtable::service::job_handler::Guest for T {
    fn run(job: wit::service::jobs::Job) -> Result<Vec<u8>, Error> {
        jobs::run(T::service(), job).map_err(crate::Error::into_wit)
    }
}

impl<T: Exported> tick::exports::pyairtable::service::tick_handler::Guest for T {
    fn tick(name: String, due: i64) -> Result<(), Error> {
        jobs::tick(T::service(), &name, due).map_err(crate::Error::into_wit)
    }
}

impl<T: Exported> lifecycle::exports::pyairtable::service::lifecycle::Guest for T {
    fn init() -> Result<(), Error> {
        T::service().hooks().run_init().map_err(crate::Error::into_wit)
    }

    fn ready() -> Result<(), Error> {
        T::service().hooks().run_ready().map_err(crate::Error::into_wit)
    }

    fn shutdown() {
        T::service().hooks().run_shutdown();
    }
}

impl<T: Exported> describe::exports::pyairtable::service::describe::Guest for T {
    fn openapi() -> String {
        T::service().openapi()
    }
}

impl<T: Exported> subject::exports::pyairtable::service::subject_data::Guest for T {
    fn export_subject(
        subject: String,
        page: u32,
    ) -> Result<(Vec<subject::exports::pyairtable::service::subject_data::ExportPart>, bool), Error>
    {
        let Some(personal) = T::service().personal() else { return Ok((Vec::new(), false)) };
        let (parts, more) = (personal.export)(&subject, page).map_err(crate::Error::into_wit)?;
        let parts = parts
            .into_iter()
            .map(|part| subject::exports::pyairtable::service::subject_data::ExportPart {
                section: part.section,
                content: part.content,
            })
            .collect();
        Ok((parts, more))
    }

    fn erase_subject(
        subject: String,
    ) -> Result<Vec<subject::exports::pyairtable::service::subject_data::Erasure>, Error> {
        let Some(personal) = T::service().personal() else { return Ok(Vec::new()) };
        (personal.erase)(&subject).map_err(crate::Error::into_wit)
    }
}
