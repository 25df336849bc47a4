//! Whether a component fits its manifest and this host.

use airhost_core::codes::{self, Code};

use super::{Artifact, Import, InterfaceName};
use crate::{Manifest, grants, suggest::nearest};

/// Why a component does not fit its manifest or this host.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The row of the catalogue.
    pub code: &'static Code,
    /// One sentence with what to do.
    pub message: String,
}

impl PartialEq for Finding {
    fn eq(&self, other: &Self) -> bool {
        self.code.code == other.code.code && self.message == other.message
    }
}

impl Eq for Finding {}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Finding> for airhost_core::Error {
    fn from(finding: Finding) -> Self {
        finding.code.error(finding.message)
    }
}

impl Artifact {
    /// Holds imports and exports against a manifest and against what a host offers, as full ids
    /// with version: `pyairtable:storage/sql@0.1.0`.
    ///
    /// # Errors
    /// Everything that does not fit, in the order of the component's imports, then exports.
    pub fn check_grants(
        &self,
        manifest: &Manifest,
        host_interfaces: &[&str],
    ) -> Result<(), Vec<Finding>> {
        let offers: Vec<InterfaceName> =
            host_interfaces.iter().map(|id| InterfaceName::new(id)).collect();
        let mut findings = Vec::new();
        findings.extend(contract(manifest, &offers));
        findings.extend(self.imports.iter().filter_map(|i| import(i, manifest, &offers)));
        findings.extend(self.check_exports(manifest));
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    fn check_exports(&self, manifest: &Manifest) -> Vec<Finding> {
        let implied: Vec<&str> = manifest.grants().exports().collect();
        let mut findings = Vec::new();
        for export in &implied {
            if !self.has_export(export) {
                let section = grants::section_of_export(export).unwrap_or_default();
                findings.push(Finding {
                    code: &codes::DEPLOY_MISSING_EXPORT,
                    message: format!("service.toml has {section}, but the component does not export {export}; export it, or remove {section}"),
                });
            }
        }
        for export in &self.exports {
            if let Some(section) = grants::section_of_export(&export.name)
                && !implied.contains(&&*export.name)
            {
                findings.push(Finding {
                    code: &codes::DEPLOY_MISSING_EXPORT,
                    message: format!("exports {export}, but service.toml has no {section}; add it, or do not export it"),
                });
            }
        }
        let called = |export: &InterfaceName| grants::ENTRY_POINTS.contains(&&*export.name);
        if !self.exports.iter().any(called) {
            findings.push(Finding {
                code: &codes::DEPLOY_MISSING_EXPORT,
                message: "exports nothing that the host calls; export pyairtable:service/handler or wasi:http/incoming-handler".to_owned(),
            });
        }
        findings
    }
}

fn contract(manifest: &Manifest, offers: &[InterfaceName]) -> Option<Finding> {
    let ours = offers.iter().filter(|offer| offer.name.starts_with("pyairtable:"));
    let versions: Vec<_> = ours.filter_map(|offer| offer.version.as_ref()).collect();
    let contract = manifest.contract;
    if versions.is_empty() || versions.iter().any(|version| contract.includes(version)) {
        return None;
    }
    let offered =
        join(versions.iter().map(|version| format!("{}.{}", version.major, version.minor)));
    Some(Finding {
        code: &codes::DEPLOY_INCOMPATIBLE,
        message: format!(
            "service.toml says `contract = \"{contract}\"`; this host offers {offered}"
        ),
    })
}

fn import(import: &Import, manifest: &Manifest, offers: &[InterfaceName]) -> Option<Finding> {
    let Import { interface, types_only } = import;
    let name = &*interface.name;
    let served = offers.iter().any(|offer| interface.is_served_by(offer));
    let stand_in = grants::is_wasi(name)
        && interface.version.as_ref().is_some_and(|v| v.major == 0 && v.minor == 2);
    if !served && !stand_in {
        let versions = offers.iter().filter(|offer| offer.name == name).map(|offer| {
            offer
                .version
                .as_ref()
                .map_or_else(|| "it without a version".to_owned(), ToString::to_string)
        });
        let versions = join(versions);
        let hint = if !versions.is_empty() {
            format!("this host offers {versions}")
        } else if let Some(meant) = nearest(name, offers.iter().map(|offer| &*offer.name)) {
            let offered = offers.iter().find(|offer| offer.name == meant);
            format!(
                "this host does not offer it; did you mean {}?",
                offered.map(ToString::to_string).unwrap_or_default()
            )
        } else {
            "this host does not offer it".to_owned()
        };
        let message = format!("imports {interface}; {hint}");
        return Some(Finding { code: &codes::DEPLOY_UNKNOWN_IMPORT, message });
    }
    if *types_only || manifest.grants().allows(name) {
        return None;
    }
    let message = format!(
        "imports {interface}, which service.toml does not ask for; {}",
        manifest.line_for(name)
    );
    Some(Finding { code: &codes::DEPLOY_UNLISTED_IMPORT, message })
}

fn join(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    items.sort();
    items.dedup();
    items.join(" and ")
}
