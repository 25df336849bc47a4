//! Profiles and preferences.

use sdk::{Row, Schema, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};

/// A user as a tenant knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Schema, Row)]
pub(crate) struct Profile {
    /// The user.
    #[row(rename = "user_id")]
    pub(crate) id: Uuid,
    /// The address.
    #[schema(example = "ada@example.com")]
    pub(crate) email: String,
    /// What the user wants to be called.
    #[schema(example = "Ada")]
    pub(crate) display_name: String,
    /// What the user does; may be empty.
    pub(crate) job_title: String,
    /// BCP 47 tag.
    #[schema(example = "en-GB")]
    pub(crate) locale: String,
    /// IANA name.
    #[schema(example = "Europe/London")]
    pub(crate) time_zone: String,
    /// When the user joined the tenant.
    pub(crate) created_at: Timestamp,
    /// Counts changes.
    pub(crate) version: i64,
}

/// What to change in a profile; what is absent stays.
#[derive(Clone, Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfilePatch {
    /// What the user wants to be called.
    #[schema(not_blank, max_length = 200, example = "Ada")]
    pub(crate) display_name: Option<String>,
    /// What the user does; may be empty.
    #[schema(max_length = 200)]
    pub(crate) job_title: Option<String>,
    /// BCP 47 tag.
    #[schema(check = locale, example = "en-GB")]
    pub(crate) locale: Option<String>,
    /// IANA name.
    #[schema(check = time_zone, example = "Europe/London")]
    pub(crate) time_zone: Option<String>,
}

impl Profile {
    /// Takes a change; answers the names of what is different now.
    pub(crate) fn change(&mut self, patch: ProfilePatch) -> Vec<&'static str> {
        let ProfilePatch { display_name, job_title, locale, time_zone } = patch;
        let mut changed = Vec::new();
        let fields = [
            ("display_name", &mut self.display_name, display_name),
            ("job_title", &mut self.job_title, job_title),
            ("locale", &mut self.locale, locale),
            ("time_zone", &mut self.time_zone, time_zone),
        ];
        for (name, field, value) in fields {
            if let Some(value) = value
                && *field != value
            {
                *field = value;
                changed.push(name);
            }
        }
        changed
    }
}

fn locale(tag: &str) -> Result<(), &'static str> {
    if is_locale(tag) { Ok(()) } else { Err("must be a language tag such as en-GB") }
}

fn time_zone(name: &str) -> Result<(), &'static str> {
    if is_time_zone(name) { Ok(()) } else { Err("must be a time zone such as Europe/London") }
}

/// The shape of a BCP 47 tag.
pub(crate) fn is_locale(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    tag.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric())
        })
}

/// The shape of an IANA name.
pub(crate) fn is_time_zone(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|part| {
            !part.is_empty()
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"_+-".contains(&c))
        })
}

/// Colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Theme {
    /// As the device.
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// How dates are written; the names are Airtable's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DateFormat {
    /// As the locale has it.
    Local,
    /// January 31, 2026.
    Friendly,
    /// 1/31/2026.
    Us,
    /// 31/1/2026.
    European,
    /// 2026-01-31.
    Iso,
}

/// The first day of a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WeekStart {
    /// Monday.
    Monday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

/// How often a summary is mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Digest {
    /// Never.
    Never,
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
}

/// What a user has chosen, or has not and gets by default.
#[derive(Clone, Debug, PartialEq, Serialize, Schema)]
pub(crate) struct Preferences {
    /// Colours.
    pub(crate) theme: Theme,
    /// How dates are written.
    pub(crate) date_format: DateFormat,
    /// The first day of a week.
    pub(crate) week_start: WeekStart,
    /// How often a summary is mailed.
    pub(crate) digest: Digest,
    /// Whether mentions are mailed.
    pub(crate) mail_mentions: bool,
}

/// Some preferences: a change, a user's choices, or a tenant's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PreferencesPatch {
    /// Colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) theme: Option<Theme>,
    /// How dates are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) date_format: Option<DateFormat>,
    /// The first day of a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) week_start: Option<WeekStart>,
    /// How often a summary is mailed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Whether mentions are mailed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mail_mentions: Option<bool>,
}

impl PreferencesPatch {
    /// These where there are some, else the others.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            theme: self.theme.or(other.theme),
            date_format: self.date_format.or(other.date_format),
            week_start: self.week_start.or(other.week_start),
            digest: self.digest.or(other.digest),
            mail_mentions: self.mail_mentions.or(other.mail_mentions),
        }
    }

    /// These where there are some, else what everybody has.
    pub(crate) fn complete(self) -> Preferences {
        Preferences {
            theme: self.theme.unwrap_or(Theme::System),
            date_format: self.date_format.unwrap_or(DateFormat::Local),
            week_start: self.week_start.unwrap_or(WeekStart::Monday),
            digest: self.digest.unwrap_or(Digest::Weekly),
            mail_mentions: self.mail_mentions.unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let rows = [
            ("en", true),
            ("en-GB", true),
            ("zh-Hant-TW", true),
            ("e", false),
            ("en_GB", false),
            ("", false),
            ("en-", false),
        ];
        for (tag, good) in rows {
            assert_eq!(is_locale(tag), good, "{tag}");
        }
        let rows = [
            ("UTC", true),
            ("Europe/London", true),
            ("Etc/GMT+1", true),
            ("America/Argentina/Ushuaia", true),
            ("", false),
            ("Europe/", false),
            ("Europe London", false),
            ("../etc", false),
        ];
        for (name, good) in rows {
            assert_eq!(is_time_zone(name), good, "{name}");
        }
    }

    #[test]
    fn a_users_choice_wins_over_the_tenants() {
        let tenant = PreferencesPatch {
            theme: Some(Theme::Dark),
            mail_mentions: Some(false),
            ..Default::default()
        };
        let user = PreferencesPatch { theme: Some(Theme::Light), ..Default::default() };
        let all = user.or(tenant).complete();
        assert_eq!(all.theme, Theme::Light);
        assert!(!all.mail_mentions);
        assert_eq!(all.digest, Digest::Weekly);
    }
}
