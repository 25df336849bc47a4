use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::refused;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceEntry {
    pub(crate) hosts: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(crate) ports: Vec<Spanned<Port>>,
    pub(crate) resolution: Option<Spanned<Resolution>>,
    #[serde(default)]
    pub(crate) location: Location,
    #[serde(default)]
    pub(crate) endpoints: Vec<Spanned<Endpoint>>,
    #[serde(default)]
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) export_to: Option<Spanned<Vec<String>>>,
    #[serde(rename = "addresses")]
    _addresses: Option<refused::Addresses>,
    #[serde(rename = "workloadSelector")]
    _workload_selector: Option<refused::EntrySelector>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Port {
    pub(crate) number: Spanned<u32>,
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) protocol: Option<Spanned<String>>,
    pub(crate) target_port: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Resolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Location {
    #[default]
    MeshExternal,
    MeshInternal,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Endpoint {
    pub(crate) address: Spanned<String>,
    #[serde(default)]
    pub(crate) ports: BTreeMap<String, Spanned<u32>>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) locality: Option<String>,
    pub(crate) weight: Option<Spanned<u32>>,
    #[serde(rename = "network")]
    _network: Option<refused::Network>,
    #[serde(rename = "serviceAccount")]
    _service_account: Option<refused::EndpointAccount>,
}
