//! Reads a TOML document piece by piece, and collects every fault with its place instead of
//! stopping at the first.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    ops::{Range, RangeInclusive},
    str::FromStr,
    time::Duration,
};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{ByteSize, Problem, duration, suggest::nearest};

/// The faults of a document so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
    faults: RefCell<Vec<(usize, String)>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, faults: RefCell::default() }
    }

    pub(crate) fn fail(&self, at: usize, message: impl Into<String>) {
        self.faults.borrow_mut().push((at, message.into()));
    }

    /// The faults in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(at, _)| *at);
        faults.dedup();
        let place = |(at, message): (usize, String)| {
            let mut at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            let before = self.text.get(..at).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |end| end + 1);
            Problem {
                line: before.matches('\n').count() + 1,
                column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
                message,
            }
        };
        faults.into_iter().map(place).collect()
    }
}

/// A table of the document. Keys that were never asked for are faults at [`Section::finish`].
#[derive(Debug)]
pub(crate) struct Section<'s> {
    source: &'s Source<'s>,
    /// As in the file: `[limits]`, `[[egress]]`, empty for the top level.
    title: String,
    at: usize,
    table: &'s DeTable<'s>,
    known: RefCell<Vec<&'static str>>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Field<'s> {
    source: &'s Source<'s>,
    /// For messages: `memory` or `an item of names`.
    name: String,
    /// Of the sections under it: `limits`, `events.in`.
    path: String,
    span: Range<usize>,
    value: &'s DeValue<'s>,
}

impl<'s> Section<'s> {
    pub(crate) fn root(source: &'s Source<'s>, table: &'s DeTable<'s>) -> Self {
        Self { source, title: String::new(), at: 0, table, known: RefCell::default() }
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<Field<'s>> {
        self.known.borrow_mut().push(key);
        let (found, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.field(found.get_ref(), value))
    }

    /// A key that must be there.
    pub(crate) fn required(&self, key: &'static str, example: &str) -> Option<Field<'s>> {
        let field = self.get(key);
        if field.is_none() {
            self.fail(format!("`{key}` is missing{}; add `{key} = {example}`", self.place()));
        }
        field
    }

    /// All keys, for tables whose keys are names.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'s str, usize, Field<'s>)> {
        self.table.iter().map(|(key, value)| {
            (key.get_ref().as_ref(), key.span().start, self.field(key.get_ref(), value))
        })
    }

    pub(crate) fn fail(&self, message: impl Into<String>) {
        self.source.fail(self.at, message);
    }

    /// Reports the keys that nobody asked for. `elsewhere` knows where a key belongs.
    pub(crate) fn finish(self, elsewhere: impl Fn(&str) -> Option<&'static str>) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match (nearest(name, known.iter().copied()), elsewhere(name)) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, Some(section)) => format!("it belongs in {section}"),
                (None, None) => format!("known keys are {}", list(&known)),
            };
            let message = format!("unknown key `{name}`{}; {hint}", self.place());
            self.source.fail(key.span().start, message);
        }
    }

    fn place(&self) -> String {
        if self.title.is_empty() {
            " at the top level".to_owned()
        } else {
            format!(" in {}", self.title)
        }
    }

    fn field(&self, key: &str, value: &'s Spanned<DeValue<'s>>) -> Field<'s> {
        let outer = self.title.trim_matches(['[', ']']);
        Field {
            source: self.source,
            name: format!("`{key}`"),
            path: if outer.is_empty() { key.to_owned() } else { format!("{outer}.{key}") },
            span: value.span(),
            value: value.get_ref(),
        }
    }
}

impl<'s> Field<'s> {
    pub(crate) fn fail(&self, message: impl Into<String>) {
        self.source.fail(self.span.start, message);
    }

    pub(crate) fn text(&self) -> Option<&'s str> {
        let text = self.value.as_str();
        self.expect(text, "a text in quotes")
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        self.expect(self.value.as_bool(), "true or false")
    }

    pub(crate) fn integer<N>(&self, allowed: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        let number = self.value.as_integer();
        let number = self.expect(number, "a whole number")?;
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = number.and_then(|n| N::try_from(n).ok()).filter(|n| allowed.contains(n));
        self.in_range(fits, allowed.start(), allowed.end())
    }

    pub(crate) fn number(&self, allowed: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let fits = self.expect(number, "a number").map(|n| Some(n).filter(|n| allowed.contains(n)));
        self.in_range(fits?, allowed.start(), allowed.end())
    }

    pub(crate) fn parse<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.check(self.text()?.parse())
    }

    /// One of the texts.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.fail(format!("{} must be one of {}, not `{text}`", self.name, list(&names)));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn duration(&self, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.check(duration::parse(self.text()?))?;
        let (low, high) = (duration::format(*allowed.start()), duration::format(*allowed.end()));
        self.in_range(Some(value).filter(|v| allowed.contains(v)), low, high)
    }

    pub(crate) fn size(&self, allowed: RangeInclusive<ByteSize>) -> Option<ByteSize> {
        let value: ByteSize = self.parse()?;
        let fits = Some(value).filter(|v| allowed.contains(v));
        self.in_range(fits, allowed.start(), allowed.end())
    }

    /// The items of a list; none of them if it is something else.
    pub(crate) fn items(&self) -> Vec<Field<'s>> {
        let Some(array) = self.expect(self.value.as_array(), "a list in [ ]") else {
            return Vec::new();
        };
        let item = |value: &'s Spanned<DeValue<'s>>| Field {
            source: self.source,
            name: format!("an item of {}", self.name),
            path: self.path.clone(),
            span: value.span(),
            value: value.get_ref(),
        };
        array.iter().map(item).collect()
    }

    /// The parsed items of a list, each once.
    pub(crate) fn distinct<T: FromStr<Err: Display> + PartialEq + Display>(
        &self,
    ) -> Vec<(T, Field<'s>)> {
        let mut found: Vec<(T, Field<'s>)> = Vec::new();
        for item in self.items() {
            let Some(value) = item.parse::<T>() else { continue };
            if found.iter().any(|(other, _)| *other == value) {
                item.fail(format!("`{value}` is in {} twice; remove one", self.name));
            } else {
                found.push((value, item));
            }
        }
        found
    }

    /// The table under `[path]`.
    pub(crate) fn section(&self) -> Option<Section<'s>> {
        self.table(format!("[{}]", self.path))
    }

    /// The tables under `[[path]]`.
    pub(crate) fn sections(&self) -> Vec<(Section<'s>, Field<'s>)> {
        let title = format!("[[{}]]", self.path);
        if !self.value.is_array() {
            self.fail(format!("write `{title}`: {} is a list of tables", self.name));
            return Vec::new();
        }
        self.items().into_iter().filter_map(|i| Some((i.table(title.clone())?, i))).collect()
    }

    /// The value as JSON, for open tables.
    pub(crate) fn json(&self) -> Option<Value> {
        let fault = Cell::new(None);
        let json = to_json(self.value, &fault);
        if let Some(what) = fault.take() {
            self.fail(format!("{} has {what}, which JSON has no value for", self.name));
            return None;
        }
        Some(json)
    }

    fn table(&self, title: String) -> Option<Section<'s>> {
        let table = self.expect(self.value.as_table(), "a table")?;
        let (source, at) = (self.source, self.span.start);
        Some(Section { source, title, at, table, known: RefCell::default() })
    }

    fn check<T, E: Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fail(error.to_string())).ok()
    }

    fn expect<T>(&self, value: Option<T>, what: &str) -> Option<T> {
        if value.is_none() {
            let is = match self.value {
                DeValue::String(_) => "a text",
                DeValue::Integer(_) => "a whole number",
                DeValue::Float(_) => "a number with a point",
                DeValue::Boolean(_) => "true or false",
                DeValue::Datetime(_) => "a date or time",
                DeValue::Array(_) => "a list",
                DeValue::Table(_) => "a table",
            };
            self.fail(format!("{} must be {what}, not {is}", self.name));
        }
        value
    }

    fn in_range<T>(&self, value: Option<T>, low: impl Display, high: impl Display) -> Option<T> {
        if value.is_none() {
            self.fail(format!("{} must be from {low} to {high}", self.name));
        }
        value
    }
}

fn to_json(value: &DeValue<'_>, fault: &Cell<Option<&'static str>>) -> Value {
    let lost = |what| {
        fault.set(Some(what));
        Value::Null
    };
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| lost("a number beyond 64 bits"), Value::from),
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(finite) {
            Some(number) => Value::Number(number),
            None => lost("a number that is not finite"),
        },
        DeValue::Datetime(_) => lost("a date or time"),
        DeValue::Array(items) => items.iter().map(|i| to_json(i.get_ref(), fault)).collect(),
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                (key.to_string(), to_json(value.get_ref(), fault))
            };
            Value::Object(table.iter().map(entry).collect())
        }
    }
}

fn finite(number: f64) -> Option<serde_json::Number> {
    serde_json::Number::from_f64(number)
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}
