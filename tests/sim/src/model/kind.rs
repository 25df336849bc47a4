//! The types of columns.

use serde::{Deserialize, Serialize};

/// The type of a column, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    SingleLineText,
    MultilineText,
    RichText,
    Email,
    Url,
    PhoneNumber,
    Number,
    Currency,
    Percent,
    Duration,
    Rating,
    Checkbox,
    SingleSelect,
    MultipleSelects,
    Date,
    DateTime,
    MultipleAttachments,
    MultipleRecordLinks,
    SingleCollaborator,
    MultipleCollaborators,
    Barcode,
    Formula,
    Rollup,
    MultipleLookupValues,
    Count,
    CreatedTime,
    LastModifiedTime,
    CreatedBy,
    LastModifiedBy,
    AutoNumber,
    Button,
    AiText,
}

impl Kind {
    /// The type with a name of the API.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }

    /// Whether cells are derived and refuse values.
    pub(crate) fn is_computed(self) -> bool {
        matches!(
            self,
            Self::Formula
                | Self::Rollup
                | Self::MultipleLookupValues
                | Self::Count
                | Self::CreatedTime
                | Self::LastModifiedTime
                | Self::CreatedBy
                | Self::LastModifiedBy
                | Self::AutoNumber
                | Self::Button
                | Self::AiText
        )
    }

    /// Whether a cell is one plain text.
    pub(crate) fn is_text(self) -> bool {
        matches!(
            self,
            Self::SingleLineText
                | Self::MultilineText
                | Self::RichText
                | Self::Email
                | Self::Url
                | Self::PhoneNumber
        )
    }

    /// Whether a column may be a table's first.
    pub(crate) fn can_be_primary(self) -> bool {
        self.is_text()
            || matches!(
                self,
                Self::Number
                    | Self::Currency
                    | Self::Percent
                    | Self::Duration
                    | Self::Date
                    | Self::DateTime
                    | Self::Barcode
                    | Self::Formula
                    | Self::AutoNumber
            )
    }
}
