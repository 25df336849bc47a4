//! `#[derive(Row)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, LitStr, Result};

use crate::attributes::plain;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.ident.span(), "Row takes structs"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(syn::Error::new(input.ident.span(), "Row takes structs with named fields"));
    };
    let mut reads = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let mut column = plain(ident);
        let (mut json, mut default) = (false, false);
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("row")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    column = meta.value()?.parse::<LitStr>()?.value();
                } else if meta.path.is_ident("json") {
                    json = true;
                } else if meta.path.is_ident("default") {
                    default = true;
                } else {
                    return Err(meta.error("expected rename, json or default"));
                }
                Ok(())
            })?;
        }
        reads.push(if default {
            quote!(#ident: ::std::default::Default::default())
        } else if json {
            quote!(#ident: row.take_json(#column)?)
        } else {
            quote!(#ident: row.take(#column)?)
        });
    }
    let ident = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::sdk::sql::FromRow for #ident #ty_generics #where_clause {
            fn from_row(row: &mut ::sdk::sql::RowReader<'_>) -> ::sdk::Result<Self> {
                Ok(Self { #(#reads),* })
            }
        }
    })
}
