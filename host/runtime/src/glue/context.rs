//! `context/call`, `context/configuration` and `context/cache`.

use std::{sync::Arc, time::Duration};

use airhost_core::{Principal, codes};

use super::{Answer, millis};
use crate::{
    bindings::imports::pyairtable::context::{
        cache::{self, Scope},
        call, configuration,
    },
    cache::CacheScope,
    state::State,
};

/// The path of the host's own identity, as guests read it in `caller`.
const HOST: &str = "ns/airhost-system/sa/airhost";

fn to_guest(principal: &Principal) -> call::Principal {
    call::Principal {
        subject: principal.subject.clone(),
        tenant: principal.tenant.as_str().to_owned(),
        roles: principal.roles.clone(),
        scopes: principal.scopes.clone(),
        session: principal.session.clone(),
        expires_at: principal.expires_at,
        attrs: principal.claims.clone(),
    }
}

impl call::Host for State {
    fn get_principal(&mut self) -> wasmtime::Result<Option<call::Principal>> {
        Ok(self.call.context.principal.as_deref().map(to_guest))
    }

    async fn assume(&mut self, jwt: String) -> Answer<call::Principal> {
        let Some(verifier) = self.service.environment.verifier.clone() else {
            return Err(codes::PRINCIPAL_DENIED
                .error("the service may not set the principal")
                .into());
        };
        let principal = Arc::new(verifier.verify(&jwt).await?);
        self.call.context.tenant = Some(principal.tenant.clone());
        let answer = to_guest(&principal);
        self.call.context.principal = Some(principal);
        Ok(answer)
    }

    fn caller(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(match &self.call.context.caller {
            airhost_core::Caller::Service { identity, .. } => Some(identity.as_str().to_owned()),
            airhost_core::Caller::Public => None,
            // In a namespace where no service lives, so that none can have this identity.
            airhost_core::Caller::Host => {
                Some(format!("spiffe://{}/{HOST}", self.service.identity.trust_domain()))
            }
        })
    }

    fn tenant(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.call.context.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
    }

    fn correlation_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.call.context.correlation.as_str().to_owned())
    }

    fn traceparent(&mut self) -> wasmtime::Result<String> {
        Ok(self.call.context.trace.to_string())
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(millis(self.call.context.deadline.remaining()))
    }

    fn service(&mut self) -> wasmtime::Result<String> {
        Ok(self.service.name.as_str().to_owned())
    }

    fn revision(&mut self) -> wasmtime::Result<String> {
        Ok(self.service.revision_short.as_ref().to_owned())
    }
}

impl configuration::Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.service.environment.config.get(&key).map(ToString::to_string))
    }

    fn keys(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.service.environment.config.keys().cloned().collect())
    }
}

impl State {
    fn cache_scope(&self, scope: Scope) -> CacheScope {
        match scope {
            Scope::Shared => CacheScope::Shared,
            Scope::Tenant => CacheScope::Tenant(self.call.context.tenant.clone()),
        }
    }
}

impl cache::Host for State {
    fn get(&mut self, scope: Scope, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.service.cache.get(self.cache_scope(scope), key).map(|value| value.to_vec()))
    }

    fn put(
        &mut self,
        scope: Scope,
        key: String,
        value: Vec<u8>,
        ttl_ms: u64,
        tags: Vec<String>,
    ) -> Answer<()> {
        let scope = self.cache_scope(scope);
        Ok(self.service.cache.put(scope, key, value.into(), Duration::from_millis(ttl_ms), tags)?)
    }

    fn delete(&mut self, scope: Scope, key: String) -> wasmtime::Result<()> {
        self.service.cache.delete(self.cache_scope(scope), key);
        Ok(())
    }

    fn drop_tag(&mut self, tag: String) -> wasmtime::Result<()> {
        let service = &self.service;
        service.cache.drop_tag(&tag);
        if let Some(broadcast) = &service.environment.cache_broadcast {
            broadcast.drop_tag(&service.name, &tag);
        }
        Ok(())
    }
}
