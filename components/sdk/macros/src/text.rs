//! `#[derive(Text)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, Result};

use crate::attributes::{Serde, plain, rename_variant};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(syn::Error::new(input.ident.span(), "Text takes enums"));
    };
    let rule = Serde::read(&input.attrs)?.rename_all;
    let (mut idents, mut names) = (Vec::new(), Vec::new());
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new(variant.ident.span(), "Text takes variants without data"));
        }
        let own = Serde::read(&variant.attrs)?.rename;
        names.push(own.unwrap_or_else(|| rename_variant(&plain(&variant.ident), rule.as_deref())));
        idents.push(&variant.ident);
    }
    let ident = &input.ident;
    let expected = format!("must be one of {}", names.join(", "));
    Ok(quote! {
        impl #ident {
            /// The name in JSON and SQL.
            #[must_use]
            pub const fn as_str(&self) -> &'static str {
                match self { #(Self::#idents => #names),* }
            }
        }
        impl ::std::fmt::Display for #ident {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl ::std::str::FromStr for #ident {
            type Err = &'static str;
            fn from_str(text: &str) -> ::std::result::Result<Self, &'static str> {
                match text { #(#names => Ok(Self::#idents),)* _ => Err(#expected) }
            }
        }
        impl ::sdk::sql::ToValue for #ident {
            fn to_value(&self) -> ::sdk::sql::Value {
                ::sdk::sql::Value::Text(self.as_str().to_owned())
            }
        }
        impl ::sdk::sql::FromValue for #ident {
            fn from_value(value: ::sdk::sql::Value) -> ::sdk::sql::Conversion<Self> {
                let text = <String as ::sdk::sql::FromValue>::from_value(value)?;
                text.parse()
            }
        }
    })
}
