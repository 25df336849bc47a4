use std::fmt;

use airhost_core::{Call, CallContext, Result, codes};
use airhost_manifest::Injection;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::{Owner, Vault};

/// The attribute of a call that stands for `{scope}` in a rule's secret.
const SCOPE: &str = "secret-scope";

/// Puts secrets into requests on their way out, as the caller's manifest says.
#[derive(Clone)]
pub struct Injector {
    vault: Vault,
}

impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Injector")
    }
}

impl Injector {
    /// An injector of the vault's secrets.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// Applies the rules of the caller's `[[secrets.inject]]` that are for the request's host.
    ///
    /// A field that a rule sets is taken out first, whatever the guest put there, so that a guest
    /// cannot send a credential of its own in its place. If a wildcard and a host's own rule set
    /// the same field, the host's own counts. The field is marked sensitive: `http` does not print
    /// it and HPACK does not index it.
    ///
    /// # Errors
    /// `secrets.not-found` if there is no such secret, `secrets.denied` if the call lacks what the
    /// rule needs, `secrets.value` if it is no header value, `tenant.missing`. They name the rule,
    /// never the value. The request must not be sent then.
    pub async fn inject(&self, call: &mut Call, rules: &[&Injection]) -> Result<()> {
        let uri = call.request.uri();
        let own_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(own_port);
        let host = uri.host().unwrap_or_default();
        let (mut wanted, wildcards): (Vec<_>, Vec<_>) = rules
            .iter()
            .copied()
            .filter(|rule| rule.host.matches(host, port, own_port))
            .partition(|rule| rule.host.exact_host().is_some());
        for rule in wildcards {
            if !wanted.iter().any(|exact| exact.header == rule.header) {
                wanted.push(rule);
            }
        }
        for rule in wanted {
            let (name, value) = self.field(&call.context, &call.attrs, rule).await?;
            // Replaces all values of the field.
            call.request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    async fn field(
        &self,
        context: &CallContext,
        attrs: &[(String, String)],
        rule: &Injection,
    ) -> Result<(HeaderName, HeaderValue)> {
        let named = format!("the rule that sets `{}` for `{}`", rule.header, rule.host);
        let service = context.caller.service().ok_or_else(|| {
            codes::SECRETS_DENIED.error(format!("{named} is for calls of a service"))
        })?;
        let scope = attrs.iter().find(|(name, _)| name == SCOPE).map(|(_, value)| &**value);
        let secret = rule.secret_name(scope).ok_or_else(|| {
            codes::SECRETS_DENIED.error(format!("{named} needs the call's attribute `{SCOPE}`"))
        })?;
        let owner = Owner { service, tenant: context.tenant.as_ref() };
        let material = self.vault.load(owner, &secret).await.map_err(|error| {
            if codes::SECRETS_NOT_FOUND.is(&error) {
                codes::SECRETS_NOT_FOUND.error(format!("{named} finds no secret `{}`", rule.secret))
            } else {
                error
            }
        })?;
        let unfit = || {
            codes::SECRETS_VALUE.error(format!("{named} finds a secret that is no header value"))
        };
        let text = std::str::from_utf8(material.value()?).map_err(|_| unfit())?;
        let text = Zeroizing::new(rule.value_with(text));
        let name = HeaderName::from_bytes(rule.header.as_bytes()).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(&text).map_err(|_| unfit())?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

#[cfg(test)]
mod tests;
