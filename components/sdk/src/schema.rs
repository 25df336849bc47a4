//! One declaration for a type's rules and its OpenAPI schema: `#[derive(Schema)]`.
//!
//! The derive writes plain data ([`Type`], [`Rule`]); one interpreter checks it and one prints it,
//! so that a service with many types stays small.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    hash::BuildHasher,
};

use crate::{Error, Result, Timestamp, Uuid, Violation, sql::Decimal};

pub use sdk_macros::Schema;

/// The shape of a type, as OpenAPI sees it.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Anything JSON can say.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number with its OpenAPI format (`int32`, `int64`) and lower bound.
    Integer(&'static str, Option<i64>),
    /// A number.
    Number,
    /// A string with its format; empty for none.
    String(&'static str),
    /// A list.
    Array(fn() -> Self),
    /// A list of fixed length; as path parameters, one each.
    Tuple(&'static [fn() -> Self]),
    /// An object with any names.
    Map(fn() -> Self),
    /// The type or null.
    Nullable(fn() -> Self),
    /// A struct.
    Object(&'static Object),
    /// One of some strings.
    Enum(&'static Enum),
    /// One of some shapes.
    Union(&'static Union),
}

/// A struct.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Name of the schema in the document.
    pub name: &'static str,
    /// Doc comment.
    pub description: &'static str,
    /// Members in order.
    pub fields: &'static [Field],
    /// Refuses other members (`#[serde(deny_unknown_fields)]`).
    pub closed: bool,
    /// Types of the generic parameters; their names are added to the schema's name.
    pub parameters: &'static [fn() -> Type],
}

/// A member of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Doc comment.
    pub description: &'static str,
    /// Must be there.
    pub required: bool,
    /// `#[serde(flatten)]`: its members are members here.
    pub flatten: bool,
    /// Shape.
    pub ty: fn() -> Type,
    /// Rules.
    pub rules: &'static [Rule],
    /// JSON text of an example; empty for one made from the type.
    pub example: &'static str,
}

/// An enum of names.
#[derive(Clone, Copy, Debug)]
pub struct Enum {
    /// Name of the schema.
    pub name: &'static str,
    /// Doc comment.
    pub description: &'static str,
    /// The names in JSON.
    pub values: &'static [&'static str],
}

/// An enum with data.
#[derive(Clone, Copy, Debug)]
pub struct Union {
    /// Name of the schema.
    pub name: &'static str,
    /// Doc comment.
    pub description: &'static str,
    /// How the variant is told.
    pub tagging: Tagging,
    /// The variants.
    pub variants: &'static [Variant],
}

/// How serde tells the variants of an enum apart.
#[derive(Clone, Copy, Debug)]
pub enum Tagging {
    /// `{"variant": …}`.
    External,
    /// A member with the variant's name beside the others.
    Internal(&'static str),
    /// A member with the name and one with the data.
    Adjacent(&'static str, &'static str),
    /// By shape alone.
    None,
}

/// A variant of a [`Union`].
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Name in JSON.
    pub name: &'static str,
    /// Its data.
    pub body: VariantBody,
}

/// The data of a variant.
#[derive(Clone, Copy, Debug)]
pub enum VariantBody {
    /// None.
    Unit,
    /// One value.
    One(fn() -> Type),
    /// Members of its own.
    Fields(&'static [Field]),
}

/// A rule for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// At least so many characters.
    MinLength(usize),
    /// At most so many characters.
    MaxLength(usize),
    /// At least so many items.
    MinItems(usize),
    /// At most so many items.
    MaxItems(usize),
    /// Not less.
    Min(f64),
    /// Not more.
    Max(f64),
    /// Something beside white space.
    NotBlank,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// `email`, `uri`, `hostname`, `slug`, `date`, `date-time`, `uuid`, `topic`.
    Format(&'static str),
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub enum Measure<'a> {
    /// Nothing that rules apply to.
    None,
    /// A string.
    Text(&'a str),
    /// A number.
    Number(f64),
    /// A collection of so many items.
    Items(usize),
}

/// What rules and nested types are checked through. Derived together with [`Schema`].
pub trait Validate {
    /// What rules look at.
    fn measure(&self) -> Measure<'_> {
        Measure::None
    }

    /// Checks what is inside.
    fn validate(&self, _validator: &mut Validator) {}
}

/// A type of the API: its shape and its rules.
pub trait Schema: Validate {
    /// The shape.
    fn schema() -> Type
    where
        Self: Sized;
}

/// Collects faults with their pointers; at most 50.
#[derive(Debug, Default)]
pub struct Validator {
    path: String,
    violations: Vec<Violation>,
}

const MAX_VIOLATIONS: usize = 50;

impl Validator {
    /// Reports a fault of the value that is being checked.
    pub fn fault(&mut self, message: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation::new(self.path.clone(), message));
        }
    }

    /// Reports a fault of a member.
    pub fn fault_at(&mut self, member: &str, message: impl Into<String>) {
        let length = self.enter(member);
        self.fault(message);
        self.path.truncate(length);
    }

    /// Checks a member by rules and by its own type.
    pub fn member(&mut self, name: &str, rules: &[Rule], value: &dyn Validate) {
        let length = self.enter(name);
        self.value(rules, value);
        self.path.truncate(length);
    }

    /// Checks a member by a function.
    pub fn check<T, M: Into<String>>(
        &mut self,
        name: &str,
        value: &T,
        check: impl FnOnce(&T) -> Result<(), M>,
    ) {
        if let Err(message) = check(value) {
            self.fault_at(name, message);
        }
    }

    /// Checks a value here.
    pub fn value(&mut self, rules: &[Rule], value: &dyn Validate) {
        if !rules.is_empty() {
            let measure = value.measure();
            for rule in rules {
                if let Some(message) = rule.broken(measure) {
                    self.fault(message);
                }
            }
        }
        value.validate(self);
    }

    fn enter(&mut self, member: &str) -> usize {
        let length = self.path.len();
        self.path.push('/');
        if member.contains(['~', '/']) {
            self.path.push_str(&member.replace('~', "~0").replace('/', "~1"));
        } else {
            self.path.push_str(member);
        }
        length
    }

    fn items<'a>(&mut self, items: impl Iterator<Item = &'a dyn Validate>) {
        for (index, item) in items.enumerate() {
            let length = self.path.len();
            // Writing to a string cannot fail.
            if write!(self.path, "/{index}").is_ok() {
                item.validate(self);
            }
            self.path.truncate(length);
            if self.violations.len() >= MAX_VIOLATIONS {
                return;
            }
        }
    }
}

/// Checks a value against the rules of its type: an error 422 that lists all faults.
///
/// # Errors
/// `request.validation` with a pointer for each fault.
pub fn check(value: &dyn Validate) -> Result<()> {
    check_under("", value)
}

pub(crate) fn check_under(prefix: &str, value: &dyn Validate) -> Result<()> {
    let mut validator = Validator { path: prefix.to_owned(), violations: Vec::new() };
    value.validate(&mut validator);
    if validator.violations.is_empty() {
        Ok(())
    } else {
        Err(Error::violations(validator.violations))
    }
}

impl Rule {
    /// The fault, if the rule does not hold.
    fn broken(&self, measure: Measure<'_>) -> Option<String> {
        match (*self, measure) {
            (Self::MinLength(1), Measure::Text("")) => Some("must not be empty".to_owned()),
            (Self::MinLength(min), Measure::Text(text)) => {
                (text.chars().count() < min).then(|| format!("must have at least {min} characters"))
            }
            (Self::MaxLength(max), Measure::Text(text)) => (text.len() > max
                && text.chars().count() > max)
                .then(|| format!("must have at most {max} characters")),
            (Self::MinItems(min), Measure::Items(items)) => {
                (items < min).then(|| format!("must have at least {min} items"))
            }
            (Self::MaxItems(max), Measure::Items(items)) => {
                (items > max).then(|| format!("must have at most {max} items"))
            }
            (Self::Min(min), Measure::Number(number)) => {
                (number < min).then(|| format!("must be at least {}", plain(min)))
            }
            (Self::Max(max), Measure::Number(number)) => {
                (number > max).then(|| format!("must be at most {}", plain(max)))
            }
            (Self::NotBlank, Measure::Text(text)) => {
                text.trim().is_empty().then(|| "must not be blank".to_owned())
            }
            (Self::OneOf(values), Measure::Text(text)) => {
                (!values.contains(&text)).then(|| format!("must be one of {}", values.join(", ")))
            }
            (Self::Format(format), Measure::Text(text)) => {
                (!is_format(format, text)).then(|| format!("must be {}", format_words(format)))
            }
            _ => None,
        }
    }
}

/// A bound as JSON, whole where it is whole: what serde_json has in any case, where Rust's own
/// formatting of floats would add 15 KB to every component.
pub(crate) fn plain(n: f64) -> serde_json::Value {
    if n.fract() == 0.0 && n.abs() < 9e15 {
        serde_json::Value::from(n as i64)
    } else {
        serde_json::Value::from(n)
    }
}

fn format_words(format: &str) -> &str {
    match format {
        "email" => "an e-mail address",
        "uri" => "an absolute http or https URL",
        "hostname" => "a host name",
        "slug" => "lower-case letters, digits and single hyphens",
        "date" => "a date such as 2026-01-31",
        "date-time" => "a date-time such as 2026-01-31T12:00:00Z",
        "uuid" => "a UUID",
        "topic" => "a topic such as record.created",
        other => other,
    }
}

/// Whether a text has a format. The formats are strict subsets of their standards: what mail
/// servers, browsers and databases take alike.
#[must_use]
pub fn is_format(format: &str, text: &str) -> bool {
    match format {
        "email" => is_email(text),
        "uri" => is_url(text),
        "hostname" => is_hostname(text),
        "slug" => {
            !text.is_empty()
                && text.split('-').all(|part| {
                    !part.is_empty()
                        && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
                })
        }
        "date" => text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "uuid" => text.parse::<Uuid>().is_ok(),
        "topic" => {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c))
        }
        _ => true,
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.split('.').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&c))
        })
        && is_hostname(domain)
        && domain.contains('.')
}

fn is_hostname(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        })
}

fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !authority.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return false;
            }
            host
        }
        _ => authority,
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_is_right = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_hostname(host),
    };
    host_is_right && text.bytes().all(|c| c.is_ascii_graphic())
}

macro_rules! leaf {
    ($($type:ty => $schema:expr, $measure:expr;)*) => {$(
        impl Validate for $type {
            fn measure(&self) -> Measure<'_> {
                let measure: fn(&Self) -> Measure<'_> = $measure;
                measure(self)
            }
        }
        impl Schema for $type {
            fn schema() -> Type {
                $schema
            }
        }
    )*};
}

leaf! {
    bool => Type::Boolean, |_| Measure::None;
    u8 => Type::Integer("int32", Some(0)), |n| Measure::Number(f64::from(*n));
    u16 => Type::Integer("int32", Some(0)), |n| Measure::Number(f64::from(*n));
    u32 => Type::Integer("int64", Some(0)), |n| Measure::Number(f64::from(*n));
    u64 => Type::Integer("int64", Some(0)), |n| Measure::Number(*n as f64);
    usize => Type::Integer("int64", Some(0)), |n| Measure::Number(*n as f64);
    i16 => Type::Integer("int32", None), |n| Measure::Number(f64::from(*n));
    i32 => Type::Integer("int32", None), |n| Measure::Number(f64::from(*n));
    i64 => Type::Integer("int64", None), |n| Measure::Number(*n as f64);
    f32 => Type::Number, |n| Measure::Number(f64::from(*n));
    f64 => Type::Number, |n| Measure::Number(*n);
    String => Type::String(""), |text| Measure::Text(text);
    Cow<'static, str> => Type::String(""), |text| Measure::Text(text);
    Uuid => Type::String("uuid"), |_| Measure::None;
    Timestamp => Type::String("date-time"), |_| Measure::None;
    Decimal => Type::String("decimal"), |text| Measure::Number(text.to_f64());
    serde_json::Value => Type::Any, |_| Measure::None;
    () => Type::Any, |_| Measure::None;
}

impl Validate for str {
    fn measure(&self) -> Measure<'_> {
        Measure::Text(self)
    }
}

impl Validate for serde_json::Map<String, serde_json::Value> {
    fn measure(&self) -> Measure<'_> {
        Measure::Items(self.len())
    }
}

impl Schema for serde_json::Map<String, serde_json::Value> {
    fn schema() -> Type {
        Type::Map(serde_json::Value::schema)
    }
}

impl<T: Validate + ?Sized> Validate for &T {
    fn measure(&self) -> Measure<'_> {
        (**self).measure()
    }
    fn validate(&self, validator: &mut Validator) {
        (**self).validate(validator);
    }
}

impl<T: Schema> Schema for &T {
    fn schema() -> Type {
        T::schema()
    }
}

impl<T: Validate> Validate for Box<T> {
    fn measure(&self) -> Measure<'_> {
        (**self).measure()
    }
    fn validate(&self, validator: &mut Validator) {
        (**self).validate(validator);
    }
}

impl<T: Schema> Schema for Box<T> {
    fn schema() -> Type {
        T::schema()
    }
}

impl<T: Validate> Validate for Option<T> {
    fn measure(&self) -> Measure<'_> {
        self.as_ref().map_or(Measure::None, Validate::measure)
    }
    fn validate(&self, validator: &mut Validator) {
        if let Some(value) = self {
            value.validate(validator);
        }
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema() -> Type {
        Type::Nullable(T::schema)
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn measure(&self) -> Measure<'_> {
        Measure::Items(self.len())
    }
    fn validate(&self, validator: &mut Validator) {
        validator.items(self.iter().map(|item| item as &dyn Validate));
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Type {
        Type::Array(T::schema)
    }
}

macro_rules! tuples {
    ($($($type:ident $index:tt),+;)*) => {$(
        impl<$($type: Validate),+> Validate for ($($type,)+) {
            fn validate(&self, validator: &mut Validator) {
                validator.items([$(&self.$index as &dyn Validate),+].into_iter());
            }
        }
        impl<$($type: Schema),+> Schema for ($($type,)+) {
            fn schema() -> Type {
                Type::Tuple(const { &[$($type::schema),+] })
            }
        }
    )*};
}

tuples! {
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

impl<T: Validate> Validate for BTreeSet<T> {
    fn measure(&self) -> Measure<'_> {
        Measure::Items(self.len())
    }
    fn validate(&self, validator: &mut Validator) {
        validator.items(self.iter().map(|item| item as &dyn Validate));
    }
}

impl<T: Schema> Schema for BTreeSet<T> {
    fn schema() -> Type {
        Type::Array(T::schema)
    }
}

impl<T: Validate> Validate for BTreeMap<String, T> {
    fn measure(&self) -> Measure<'_> {
        Measure::Items(self.len())
    }
    fn validate(&self, validator: &mut Validator) {
        for (name, value) in self {
            validator.member(name, &[], value);
        }
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema() -> Type {
        Type::Map(T::schema)
    }
}

impl<T: Validate, S: BuildHasher> Validate for HashMap<String, T, S> {
    fn measure(&self) -> Measure<'_> {
        Measure::Items(self.len())
    }
    fn validate(&self, validator: &mut Validator) {
        for (name, value) in self {
            validator.member(name, &[], value);
        }
    }
}

impl<T: Schema, S: BuildHasher> Schema for HashMap<String, T, S> {
    fn schema() -> Type {
        Type::Map(T::schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let rows = [
            ("email", "a.b+c@example.com", true),
            ("email", "a@localhost", false),
            ("email", "a@b@c.d", false),
            ("email", "a..b@c.de", false),
            ("email", "@c.de", false),
            ("uri", "https://example.com:8443/x?y#z", true),
            ("uri", "http://[::1]:80/", true),
            ("uri", "ftp://example.com", false),
            ("uri", "https://", false),
            ("uri", "https://a b.c", false),
            ("uri", "https://user@host/", false),
            ("slug", "a-b-2", true),
            ("slug", "a--b", false),
            ("date", "2024-02-29", true),
            ("date", "2023-02-29", false),
            ("topic", "record.created", true),
            ("topic", "Record", false),
        ];
        for (format, text, expected) in rows {
            assert_eq!(is_format(format, text), expected, "{format} {text}");
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let mut validator = Validator::default();
        validator.member("name", &[Rule::MaxLength(3)], &"äöü".to_owned());
        assert!(validator.violations.is_empty());
        validator.member("a/b", &[Rule::MaxLength(2)], &"äöü".to_owned());
        assert_eq!(validator.violations[0].pointer, "/a~1b");
    }
}
