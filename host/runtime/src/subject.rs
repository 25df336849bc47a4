//! Personal data that a service holds: exported and erased on the host's behalf (GDPR, articles
//! 15, 17 and 20).

use airhost_core::{CallContext, Caller, Deadline, Result, ServiceName, Tenant, codes};

use crate::{
    bindings::subject::exports::pyairtable::service::subject_data as wit,
    glue::from_guest,
    instance::Instance,
    invoke::{self, Admitted},
    runtime::Runtime,
    state::CallState,
};

/// A part of what is held about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPart {
    /// A name for a person, as `profile`.
    pub section: String,
    /// JSON.
    pub content: String,
}

/// What an erasure did to a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The section's name.
    pub section: String,
    /// Rows that were erased or made anonymous.
    pub erased: u64,
    /// Rows that were kept.
    pub kept: u64,
    /// The legal reason for what was kept.
    pub reason: Option<String>,
}

impl Runtime {
    /// One page of what a service holds about a subject in a tenant, and whether there are more.
    ///
    /// # Errors
    /// `guest.no-export` where the service holds no personal data, `guest.no-revision`, and what
    /// the service answers.
    pub async fn export_subject(
        &self,
        service: &ServiceName,
        tenant: &Tenant,
        subject: &str,
        page: u32,
    ) -> Result<(Vec<SubjectPart>, bool)> {
        let (parts, more) = self
            .subject(service, tenant, async |data, instance| {
                data.call_export_subject(&mut instance.store, subject, page).await
            })
            .await?;
        let part =
            |part: wit::ExportPart| SubjectPart { section: part.section, content: part.content };
        Ok((parts.into_iter().map(part).collect(), more))
    }

    /// Erases what a service holds about a subject in a tenant, or makes it anonymous. Repeatable.
    ///
    /// # Errors
    /// As [`Self::export_subject`].
    pub async fn erase_subject(
        &self,
        service: &ServiceName,
        tenant: &Tenant,
        subject: &str,
    ) -> Result<Vec<Erasure>> {
        let erasures = self
            .subject(service, tenant, async |data, instance| {
                data.call_erase_subject(&mut instance.store, subject).await
            })
            .await?;
        let erasure = |it: wit::Erasure| Erasure {
            section: it.section,
            erased: it.erased,
            kept: it.kept,
            reason: it.reason,
        };
        Ok(erasures.into_iter().map(erasure).collect())
    }

    async fn subject<R>(
        &self,
        service: &ServiceName,
        tenant: &Tenant,
        call: impl AsyncFnOnce(
            &wit::Guest,
            &mut Instance,
        ) -> wasmtime::Result<
            std::result::Result<R, crate::bindings::imports::pyairtable::types::errors::Error>,
        >,
    ) -> Result<R> {
        let pool = self.enter(service)?;
        let deadline = Deadline::after(pool.loaded.service.limits.wall);
        let mut context = CallContext::root(Caller::Host, deadline);
        context.tenant = Some(tenant.clone());
        let admitted = Admitted::new(pool, &mut context).await?;
        let pool = &*admitted.pool;
        let Some(indices) = &pool.loaded.exports.subject else {
            return Err(codes::GUEST_NO_EXPORT
                .error(format!("{service} does not export `pyairtable:service/subject-data`")));
        };
        invoke::run(pool, CallState::new(context, None), async |instance| {
            let exports = indices.load(&mut instance.store, &instance.linked)?;
            call(exports.pyairtable_service_subject_data(), instance).await
        })
        .await?
        .map_err(from_guest)
    }
}
