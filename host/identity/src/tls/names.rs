//! Server names (SNI): which of a node's many identities a client wants to speak with.

use airhost_core::{SpiffeId, TrustDomain};
use rustls::pki_types::ServerName;

/// The server name of a workload: `<account>.<namespace>.svc.<trust domain>`, which in Kubernetes
/// is the DNS name of a service of the same name. None for an id of another form, or a name that
/// is no DNS name, because it is too long for one say.
#[must_use]
pub fn server_name(id: &SpiffeId) -> Option<ServerName<'static>> {
    let (namespace, account) = id.workload()?;
    let name = format!("{account}.{namespace}.svc.{}", id.trust_domain());
    let name = ServerName::try_from(name).ok()?;
    matches!(name, ServerName::DnsName(_)).then_some(name)
}

/// Whom a client wants to speak with that asks for this server name.
#[must_use]
pub fn requested_id(server_name: &str, trust_domain: &TrustDomain) -> Option<SpiffeId> {
    // Names are compared without regard to case (RFC 6066, section 3); ids are not.
    let name = server_name.to_ascii_lowercase();
    let workload = name.strip_suffix(trust_domain.as_str())?.strip_suffix(".svc.")?;
    // The name of a node may have dots, that of a namespace has none.
    let (account, namespace) = workload.rsplit_once('.')?;
    let id =
        SpiffeId::parse(&format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}")).ok()?;
    id.workload().is_some().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_ids_they_were_made_of() {
        let domain = TrustDomain::default();
        for (id, name) in [
            ("ns/pyairtable/sa/auth-service", "auth-service.pyairtable.svc.cluster.local"),
            ("ns/airhost-system/sa/node-1.eu", "node-1.eu.airhost-system.svc.cluster.local"),
        ] {
            let id = SpiffeId::parse(&format!("spiffe://cluster.local/{id}")).unwrap();
            assert_eq!(server_name(&id).unwrap().to_str(), name);
            assert_eq!(requested_id(name, &domain), Some(id.clone()));
            assert_eq!(requested_id(&name.to_uppercase(), &domain), Some(id));
        }
        let long = format!("spiffe://cluster.local/ns/a/sa/{}", "b".repeat(64));
        for id in ["spiffe://cluster.local", "spiffe://cluster.local/a", &long] {
            assert!(server_name(&SpiffeId::parse(id).unwrap()).is_none(), "{id}");
        }
        for name in [
            "",
            "cluster.local",
            "svc.cluster.local",
            ".svc.cluster.local",
            "a.svc.cluster.local",
            ".a.svc.cluster.local",
            "a..svc.cluster.local",
            "a.b.svc.other.local",
            "a/b.c.svc.cluster.local",
            "a.b.svc.xcluster.local",
        ] {
            assert_eq!(requested_id(name, &domain), None, "{name}");
        }
    }
}
