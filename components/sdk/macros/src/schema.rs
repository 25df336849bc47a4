//! `#[derive(Schema)]`.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Expr, ExprLit, Fields, Generics, Lit, LitStr, Path,
    Result, Token, Type, parse_quote, punctuated::Punctuated, spanned::Spanned as _,
};

use crate::attributes::{Serde, docs, plain, rename_field, rename_variant};

/// What `#[schema(…)]` says.
#[derive(Default)]
struct Rules {
    rules: Vec<TokenStream>,
    example: String,
    check: Option<Path>,
    name: Option<String>,
}

impl Rules {
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("schema")) {
            attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let rule = match name.as_str() {
                    "min_length" | "max_length" | "min_items" | "max_items" => {
                        let value: Expr = meta.value()?.parse()?;
                        let rule = format_ident!("{}", rename_pascal(&name));
                        quote!(::sdk::schema::Rule::#rule(#value))
                    }
                    "min" | "max" => {
                        let value: Expr = meta.value()?.parse()?;
                        let rule = format_ident!("{}", rename_pascal(&name));
                        quote!(::sdk::schema::Rule::#rule((#value) as f64))
                    }
                    "not_blank" => quote!(::sdk::schema::Rule::NotBlank),
                    "format" => {
                        let value: LitStr = meta.value()?.parse()?;
                        quote!(::sdk::schema::Rule::Format(#value))
                    }
                    "one_of" => {
                        let content;
                        syn::parenthesized!(content in meta.input);
                        let values = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
                        quote!(::sdk::schema::Rule::OneOf(&[#values]))
                    }
                    "example" => {
                        found.example = example(&meta.value()?.parse()?)?;
                        return Ok(());
                    }
                    "check" => {
                        found.check = Some(meta.value()?.parse()?);
                        return Ok(());
                    }
                    "name" => {
                        found.name = Some(meta.value()?.parse::<LitStr>()?.value());
                        return Ok(());
                    }
                    _ => return Err(meta.error("not a rule of `schema`")),
                };
                found.rules.push(rule);
                Ok(())
            })?;
        }
        Ok(found)
    }
}

fn rename_pascal(name: &str) -> String {
    rename_field(name, Some("PascalCase"))
}

/// The example as JSON text: literals as they are, a `json("…")` call for the rest.
fn example(value: &Expr) -> Result<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            Ok(format!("\"{}\"", text.value().replace('\\', "\\\\").replace('"', "\\\"")))
        }
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(number.base10_digits().to_owned()),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => Ok(number.base10_digits().to_owned()),
        Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. }) => Ok(flag.value.to_string()),
        Expr::Unary(unary) => Ok(format!("-{}", example(&unary.expr)?)),
        Expr::Call(call) if call.func.to_token_stream().to_string() == "json" => {
            match call.args.first() {
                Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => Ok(text.value()),
                _ => Err(syn::Error::new(value.span(), "expected json(\"…\")")),
            }
        }
        _ => Err(syn::Error::new(value.span(), "expected a literal or json(\"…\")")),
    }
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let serde = Serde::read(&input.attrs)?;
    let rules = Rules::read(&input.attrs)?;
    let name = rules.name.clone().unwrap_or_else(|| plain(&input.ident));
    let description = docs(&input.attrs);
    let (schema, validate, measure) = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => {
                let (fields, checks) = members(
                    &named.named,
                    serde.rename_all.as_deref(),
                    serde.default,
                    |ident| quote!(&self.#ident),
                )?;
                let closed = serde.closed;
                let parameters = parameters(&input.generics);
                let schema = quote! {
                    ::sdk::schema::Type::Object(const { &::sdk::schema::Object {
                        name: #name,
                        description: #description,
                        fields: &[#(#fields),*],
                        closed: #closed,
                        parameters: &[#(#parameters),*],
                    } })
                };
                (schema, quote!(#(#checks)*), quote!())
            }
            Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                let ty = &unnamed.unnamed[0].ty;
                let own = Rules::read(&unnamed.unnamed[0].attrs)?.rules;
                let own = own.iter().chain(&rules.rules);
                (
                    quote!(<#ty as ::sdk::Schema>::schema()),
                    quote!(validator.value(&[#(#own),*], &self.0);),
                    quote! {
                        fn measure(&self) -> ::sdk::schema::Measure<'_> {
                            ::sdk::schema::Validate::measure(&self.0)
                        }
                    },
                )
            }
            _ => {
                return Err(syn::Error::new(
                    input.ident.span(),
                    "Schema takes structs with named fields, newtypes and enums",
                ));
            }
        },
        Data::Enum(data) => {
            let (schema, validate) = union(data, &serde, &name, &description)?;
            (schema, validate, quote!())
        }
        Data::Union(_) => {
            return Err(syn::Error::new(input.ident.span(), "Schema does not take unions"));
        }
    };
    let own_check = rules.check.map(|check| quote!(#check(self, validator);));
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::sdk::Schema));
    }
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::sdk::schema::Validate for #ident #ty_generics #where_clause {
            #measure
            #[allow(unused_variables, reason = "a type without rules")]
            fn validate(&self, validator: &mut ::sdk::schema::Validator) {
                #validate
                #own_check
            }
        }
        impl #impl_generics ::sdk::Schema for #ident #ty_generics #where_clause {
            fn schema() -> ::sdk::schema::Type {
                #schema
            }
        }
    })
}

fn parameters(generics: &Generics) -> Vec<TokenStream> {
    generics
        .type_params()
        .map(|parameter| {
            let ident = &parameter.ident;
            quote!(<#ident as ::sdk::Schema>::schema)
        })
        .collect()
}

type Members = (Vec<TokenStream>, Vec<TokenStream>);

/// The `Field` values and the statements that check them.
fn members(
    fields: &Punctuated<syn::Field, Token![,]>,
    rename_all: Option<&str>,
    all_default: bool,
    access: impl Fn(&syn::Ident) -> TokenStream,
) -> Result<Members> {
    let mut described = Vec::new();
    let mut checks = Vec::new();
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let serde = Serde::read(&field.attrs)?;
        if serde.skip {
            continue;
        }
        let rules = Rules::read(&field.attrs)?;
        let name = serde.rename.clone().unwrap_or_else(|| rename_field(&plain(ident), rename_all));
        let description = docs(&field.attrs);
        let optional = is_option(&field.ty) || serde.default || all_default || serde.skip_if;
        let required = !optional;
        let flatten = serde.flatten;
        let (ty, list, example) = (&field.ty, &rules.rules, &rules.example);
        described.push(quote! {
            ::sdk::schema::Field {
                name: #name,
                description: #description,
                required: #required,
                flatten: #flatten,
                ty: <#ty as ::sdk::Schema>::schema,
                rules: &[#(#list),*],
                example: #example,
            }
        });
        let value = access(ident);
        checks.push(if flatten {
            quote!(validator.value(&[#(#list),*], #value);)
        } else {
            quote!(validator.member(#name, &[#(#list),*], #value);)
        });
        if let Some(check) = &rules.check {
            checks.push(if is_option(&field.ty) {
                quote!(if let Some(value) = #value { validator.check(#name, value, |value| #check(value)); })
            } else {
                quote!(validator.check(#name, #value, |value| #check(value));)
            });
        }
    }
    Ok((described, checks))
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "Option"))
}

fn union(
    data: &DataEnum,
    serde: &Serde,
    name: &str,
    description: &str,
) -> Result<(TokenStream, TokenStream)> {
    let rule = serde.rename_all.as_deref();
    let plain_names = data.variants.iter().all(|v| matches!(v.fields, Fields::Unit));
    let mut names = Vec::new();
    let mut variants = Vec::new();
    let mut arms = Vec::new();
    for variant in &data.variants {
        let own = Serde::read(&variant.attrs)?;
        if own.skip {
            continue;
        }
        let ident = &variant.ident;
        let label = own.rename.clone().unwrap_or_else(|| rename_variant(&plain(ident), rule));
        let body = match &variant.fields {
            Fields::Unit => {
                arms.push(quote!(Self::#ident => {}));
                quote!(::sdk::schema::VariantBody::Unit)
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let ty = &fields.unnamed[0].ty;
                arms.push(quote! {
                    Self::#ident(value) => ::sdk::schema::Validate::validate(value, validator),
                });
                quote!(::sdk::schema::VariantBody::One(<#ty as ::sdk::Schema>::schema))
            }
            Fields::Named(fields) => {
                let field_rule = own.rename_all.as_deref().or(serde.rename_all_fields.as_deref());
                let (described, checks) =
                    members(&fields.named, field_rule, false, |ident| quote!(#ident))?;
                let bound = fields
                    .named
                    .iter()
                    .filter(|f| Serde::read(&f.attrs).is_ok_and(|s| !s.skip))
                    .filter_map(|f| f.ident.as_ref());
                arms.push(quote!(Self::#ident { #(#bound,)* .. } => { #(#checks)* }));
                quote!(::sdk::schema::VariantBody::Fields(&[#(#described),*]))
            }
            Fields::Unnamed(_) => {
                return Err(syn::Error::new(
                    ident.span(),
                    "Schema takes variants of one value or of named fields",
                ));
            }
        };
        variants.push(quote!(::sdk::schema::Variant { name: #label, body: #body }));
        names.push(label);
    }
    if plain_names && serde.tag.is_none() && !serde.untagged {
        let schema = quote! {
            ::sdk::schema::Type::Enum(const { &::sdk::schema::Enum {
                name: #name,
                description: #description,
                values: &[#(#names),*],
            } })
        };
        return Ok((schema, quote!()));
    }
    let tagging = match (&serde.tag, &serde.content) {
        _ if serde.untagged => quote!(::sdk::schema::Tagging::None),
        (Some(tag), Some(content)) => quote!(::sdk::schema::Tagging::Adjacent(#tag, #content)),
        (Some(tag), None) => quote!(::sdk::schema::Tagging::Internal(#tag)),
        _ => quote!(::sdk::schema::Tagging::External),
    };
    let schema = quote! {
        ::sdk::schema::Type::Union(const { &::sdk::schema::Union {
            name: #name,
            description: #description,
            tagging: #tagging,
            variants: &[#(#variants),*],
        } })
    };
    Ok((
        schema,
        quote!(match self { #(#arms)* #[allow(unreachable_patterns, reason = "skipped variants")] _ => {} }),
    ))
}
