//! The SDK's derives: [`Schema`], [`Row`] and [`Text`]. Use them through `sdk`.

mod attributes;
mod row;
mod schema;
mod text;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Rules and OpenAPI schema of a struct or enum. Names follow its `#[serde(…)]` attributes.
///
/// On a field: `#[schema(min_length = 1, max_length = 200, min = 0, max = 9, min_items = 1,
/// max_items = 10, not_blank, one_of("a", "b"), format = "email", example = "…",
/// check = path::to::function)]`, where `check` is `fn(&T) -> Result<(), impl Into<String>>`.
/// On the type: `#[schema(name = "…", check = function)]` with `fn(&Self, &mut Validator)`.
#[proc_macro_derive(Schema, attributes(schema))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    expand(schema::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Reads a struct from a row, each field from the column of its name: `#[row(rename = "column")]`
/// for another name, `#[row(json)]` for a `json` column of any `Deserialize` type,
/// `#[row(default)]` for what is in no column.
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    expand(row::derive(&parse_macro_input!(input as DeriveInput)))
}

/// An enum of names that is stored as text: `as_str`, `Display`, `FromStr`, and the conversions to
/// and from SQL. Names follow `#[serde(rename, rename_all)]`.
#[proc_macro_derive(Text)]
pub fn derive_text(input: TokenStream) -> TokenStream {
    expand(text::derive(&parse_macro_input!(input as DeriveInput)))
}

fn expand(tokens: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    tokens.unwrap_or_else(|error| error.to_compile_error()).into()
}
