//! `AuthorizationPolicy` as it is written (Istio: security/v1beta1/authorization_policy.proto).

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::{
    security::refused_fields::{TargetRef, TargetRefs},
    selector::Selector,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) selector: Option<Spanned<Selector>>,
    #[serde(rename = "targetRef")]
    _target_ref: Option<TargetRef>,
    #[serde(rename = "targetRefs")]
    _target_refs: Option<TargetRefs>,
    pub(super) action: Option<Spanned<String>>,
    pub(super) rules: Option<Spanned<Vec<Spanned<Option<Rule>>>>>,
    pub(super) provider: Option<Spanned<Provider>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) from: Option<Spanned<Vec<Spanned<From>>>>,
    pub(super) to: Option<Spanned<Vec<Spanned<To>>>>,
    pub(super) when: Option<Spanned<Vec<Spanned<When>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    pub(super) source: Option<Spanned<Source>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    pub(super) operation: Option<Spanned<Operation>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct When {
    pub(super) key: Spanned<String>,
    pub(super) values: List,
    pub(super) not_values: List,
}

/// A list of values; absent, it asks for nothing.
pub(super) type List = Option<Spanned<Vec<Spanned<String>>>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source {
    pub(super) principals: List,
    pub(super) not_principals: List,
    pub(super) request_principals: List,
    pub(super) not_request_principals: List,
    pub(super) namespaces: List,
    pub(super) not_namespaces: List,
    pub(super) service_accounts: List,
    pub(super) not_service_accounts: List,
    pub(super) trust_domains: List,
    pub(super) not_trust_domains: List,
    pub(super) ip_blocks: List,
    pub(super) not_ip_blocks: List,
    pub(super) remote_ip_blocks: List,
    pub(super) not_remote_ip_blocks: List,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Operation {
    pub(super) hosts: List,
    pub(super) not_hosts: List,
    pub(super) ports: List,
    pub(super) not_ports: List,
    pub(super) methods: List,
    pub(super) not_methods: List,
    pub(super) paths: List,
    pub(super) not_paths: List,
}
