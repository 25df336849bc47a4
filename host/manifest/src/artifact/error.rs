use airhost_core::codes::{self, Code};

use crate::ManifestError;

/// A file cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// It is not WebAssembly at all.
    #[error("this is not a WebAssembly file")]
    NotWasm,
    /// A core module has no typed imports and exports.
    #[error(
        "this is a core WebAssembly module, not a component; build for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// A version of the component format that is not the current one.
    #[error("this is WebAssembly of an unknown version; build it with a current toolchain")]
    UnknownVersion,
    /// Cut off, changed after it was packed, or not valid.
    #[error("the file is damaged or not complete: {0}")]
    Damaged(String),
    /// A component without our sections.
    #[error(
        "the component carries no manifest; build it with `airhost build` or give one with --manifest"
    )]
    NoManifest,
    /// The manifest in it is not valid here.
    #[error("{0}")]
    Manifest(#[source] ManifestError),
    /// What another section carries is not valid.
    #[error("section `{name}`: {reason}")]
    Section {
        /// The section.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// More than [`crate::MAX_FILE`].
    #[error("the file has {size} bytes; at most {} MiB are served", crate::MAX_FILE >> 20)]
    TooLarge {
        /// Bytes.
        size: usize,
    },
}

impl ArtifactError {
    pub(super) fn damaged(reason: String) -> Self {
        Self::Damaged(reason)
    }

    pub(super) fn section(name: &'static str, reason: String) -> Self {
        Self::Section { name, reason }
    }

    /// The row of the catalogue.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        match self {
            Self::NotWasm | Self::CoreModule | Self::UnknownVersion => {
                &codes::DEPLOY_NOT_A_COMPONENT
            }
            Self::Damaged(_) | Self::Section { .. } => &codes::DEPLOY_TRUNCATED,
            Self::NoManifest => &codes::DEPLOY_NO_MANIFEST,
            Self::Manifest(_) => &codes::DEPLOY_MANIFEST,
            Self::TooLarge { .. } => &codes::DEPLOY_TOO_LARGE,
        }
    }
}

impl From<ArtifactError> for airhost_core::Error {
    fn from(error: ArtifactError) -> Self {
        error.code().error(error.to_string())
    }
}
