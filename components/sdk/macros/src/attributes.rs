//! Reading doc comments and `#[serde(…)]`.

use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token, meta::ParseNestedMeta};

/// The doc comment as one text.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value
        {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line.value().trim());
        }
    }
    text
}

/// What serde was told about a type, variant or field.
#[derive(Default)]
pub(crate) struct Serde {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<String>,
    pub(crate) rename_all_fields: Option<String>,
    pub(crate) default: bool,
    pub(crate) skip: bool,
    pub(crate) flatten: bool,
    pub(crate) skip_if: bool,
    pub(crate) tag: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) untagged: bool,
    pub(crate) transparent: bool,
    pub(crate) closed: bool,
}

impl Serde {
    pub(crate) fn read(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| serde.one(&meta))?;
        }
        Ok(serde)
    }

    fn one(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "rename" => self.rename = names(meta)?,
            "rename_all" => self.rename_all = names(meta)?,
            "rename_all_fields" => self.rename_all_fields = names(meta)?,
            "tag" => self.tag = names(meta)?,
            "content" => self.content = names(meta)?,
            "untagged" => self.untagged = true,
            "transparent" => self.transparent = true,
            "deny_unknown_fields" => self.closed = true,
            "flatten" => self.flatten = true,
            "skip" => self.skip = true,
            "default" => {
                self.default = true;
                ignore(meta)?;
            }
            "skip_serializing_if" => {
                self.skip_if = true;
                ignore(meta)?;
            }
            _ => ignore(meta)?,
        }
        Ok(())
    }
}

/// `= "name"` or `(serialize = "name", …)`, of which the serialized name counts.
fn names(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return Ok(Some(meta.value()?.parse::<LitStr>()?.value()));
    }
    let mut name = None;
    meta.parse_nested_meta(|inner| {
        let value = inner.value()?.parse::<LitStr>()?.value();
        if inner.path.is_ident("serialize") || name.is_none() {
            name = Some(value);
        }
        Ok(())
    })?;
    Ok(name)
}

fn ignore(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| ignore(&inner))?;
    }
    Ok(())
}

/// serde's `rename_all` for a field (written in `snake_case`).
pub(crate) fn rename_field(name: &str, rule: Option<&str>) -> String {
    let pascal = || -> String { name.split('_').map(capital).collect() };
    match rule {
        Some("camelCase") => lower_first(&pascal()),
        Some("PascalCase") => pascal(),
        Some("kebab-case") => name.replace('_', "-"),
        Some("SCREAMING_SNAKE_CASE" | "UPPERCASE") => name.to_uppercase(),
        Some("SCREAMING-KEBAB-CASE") => name.to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

/// serde's `rename_all` for a variant (written in `PascalCase`).
pub(crate) fn rename_variant(name: &str, rule: Option<&str>) -> String {
    let snake = || {
        let mut text = String::new();
        for (index, c) in name.chars().enumerate() {
            if c.is_uppercase() && index > 0 {
                text.push('_');
            }
            text.extend(c.to_lowercase());
        }
        text
    };
    match rule {
        Some("lowercase") => name.to_lowercase(),
        Some("UPPERCASE") => name.to_uppercase(),
        Some("camelCase") => lower_first(name),
        Some("snake_case") => snake(),
        Some("kebab-case") => snake().replace('_', "-"),
        Some("SCREAMING_SNAKE_CASE") => snake().to_uppercase(),
        Some("SCREAMING-KEBAB-CASE") => snake().to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn lower_first(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// The name without `r#`.
pub(crate) fn plain(ident: &syn::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or_else(|| name.clone(), str::to_owned)
}
