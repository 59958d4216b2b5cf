//! `#[derive(Events)]`.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token,
    ext::IdentExt, meta::ParseNestedMeta,
};

use crate::rename::Rule;

/// The prefix of the event names that are reserved for Headwater, as in `headwater_wire::sse`.
const RESERVED_PREFIX: &str = "headwater:";

pub(crate) fn expand(item: TokenStream) -> TokenStream {
    syn::parse2(item)
        .and_then(|input| derive(&input))
        .unwrap_or_else(Error::into_compile_error)
}

fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "`Events` is for enums, whose variants are the events: make this an enum, or name the event \
             of each item with `Item::event`",
        ));
    };
    let rule = Attributes::read(&input.attrs)?.rename_all;
    let events = data
        .variants
        .iter()
        .map(|variant| Event::read(&variant.ident, &variant.attrs, rule))
        .collect::<Result<Vec<_>>>()?;
    check(&input.ident, &events)?;

    let ident = &input.ident;
    let (generics, arguments, condition) = input.generics.split_for_impl();
    let sent = events.iter().filter(|event| !event.skipped);
    let names = sent.map(|event| &event.name);
    // A skipped variant has an arm too. Its name is never sent, because serde refuses to serialise
    // it.
    let arms = events
        .iter()
        .map(|Event { variant, name, .. }| quote!(Self::#variant { .. } => #name));
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::headwater::Events for #ident #arguments #condition {
            const NAMES: &'static [&'static str] = &[#(#names),*];

            fn event(&self) -> &'static str {
                match self {
                    #(#arms,)*
                }
            }
        }
    })
}

struct Event<'a> {
    variant: &'a Ident,
    name: String,
    /// The location of the name in the source.
    span: Span,
    skipped: bool,
}

impl<'a> Event<'a> {
    fn read(variant: &'a Ident, attributes: &[Attribute], rule: Option<Rule>) -> Result<Self> {
        let attributes = Attributes::read(attributes)?;
        let (name, span) = match attributes.rename {
            Some(literal) => (literal.value(), literal.span()),
            None => {
                let name = variant.unraw().to_string();
                let name = rule.map_or_else(|| name.clone(), |rule| rule.apply(&name));
                (name, variant.span())
            }
        };
        Ok(Self {
            variant,
            name,
            span,
            skipped: attributes.skipped,
        })
    }
}

/// Refuses enums that can't be sent, with all errors at once.
fn check(ident: &Ident, events: &[Event<'_>]) -> Result<()> {
    let mut errors = Vec::new();
    let mut seen: HashMap<&str, &Ident> = HashMap::new();
    let mut is_empty = true;
    for Event {
        variant,
        name,
        span,
        ..
    } in events.iter().filter(|event| !event.skipped)
    {
        is_empty = false;
        if let Some(first) = seen.insert(name, variant) {
            errors.push(Error::new(
                *span,
                format!(
                    "`{first}` and `{variant}` are both sent as the event `{name}`: give one of them \
                     another name with `#[serde(rename = \"…\")]`"
                ),
            ));
        }
        if name.is_empty() {
            errors.push(Error::new(
                *span,
                "an event without a name reaches a browser as `message`: give it one",
            ));
        }
        if name.contains(['\n', '\r']) {
            errors.push(Error::new(
                *span,
                "the name of an event is one line (WHATWG HTML §9.2.5): take the line break out",
            ));
        }
        if name.starts_with(RESERVED_PREFIX) {
            errors.push(Error::new(
                *span,
                format!(
                    "the event `{name}` begins with `{RESERVED_PREFIX}`, by which Headwater itself talks to clients: \
                     give `{variant}` another name"
                ),
            ));
        }
    }
    if is_empty {
        errors.push(Error::new(
            ident.span(),
            format!("`{ident}` has no variant that could be sent: each variant is one event"),
        ));
    }
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.map_or(Ok(()), Err)
}

/// The parts of serde's attributes that affect names.
#[derive(Default)]
struct Attributes {
    rename: Option<LitStr>,
    rename_all: Option<Rule>,
    skipped: bool,
}

impl Attributes {
    /// Reads the relevant attributes and skips the others, which serde checks.
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        let serde = |attribute: &&Attribute| attribute.path().is_ident("serde");
        for attribute in attributes.iter().filter(serde) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    read.rename = written(&meta)?.or(read.rename.take());
                } else if meta.path.is_ident("rename_all") {
                    if let Some(literal) = written(&meta)? {
                        read.rename_all = Rule::named(&literal.value());
                    }
                } else {
                    let is_skip = ["skip", "skip_serializing"]
                        .iter()
                        .any(|skip| meta.path.is_ident(skip));
                    read.skipped |= is_skip;
                    pass_over(&meta)?;
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}

/// Returns the string of `name = "…"` or `name(serialize = "…")`, or `None` if it applies only to
/// deserialisation.
fn written(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return string(meta).map(Some);
    }
    let mut written = None;
    meta.parse_nested_meta(|direction| {
        if direction.path.is_ident("serialize") {
            written = Some(string(&direction)?);
            Ok(())
        } else {
            pass_over(&direction)
        }
    })?;
    Ok(written)
}

fn string(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    match meta.value()?.parse::<Expr>()? {
        Expr::Lit(ExprLit {
            lit: Lit::Str(literal),
            ..
        }) => Ok(literal),
        // A name that a `macro_rules!` macro passed on is inside an invisible group.
        Expr::Group(group) => match *group.expr {
            Expr::Lit(ExprLit {
                lit: Lit::Str(literal),
                ..
            }) => Ok(literal),
            other => Err(Error::new_spanned(other, "expected a string literal")),
        },
        other => Err(Error::new_spanned(other, "expected a string literal")),
    }
}

fn pass_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<TokenStream>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names in `NAMES`, or the messages of the errors, each cut at its colon.
    fn names(source: &str) -> std::result::Result<Vec<String>, Vec<String>> {
        let input: DeriveInput = syn::parse_str(source).expect("the source is Rust");
        let tokens = derive(&input).map_err(|errors| {
            let messages = errors.into_iter().map(|error| error.to_string());
            messages
                .map(|text| text.split(": ").next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        })?;
        let expanded: syn::ItemImpl = syn::parse2(tokens).expect("the expansion is an impl");
        let syn::ImplItem::Const(constant) = &expanded.items[0] else {
            panic!("the first item is the constant");
        };
        let Expr::Reference(list) = &constant.expr else {
            panic!("the constant is a slice");
        };
        let Expr::Array(list) = &*list.expr else {
            panic!("the constant is a slice");
        };
        Ok(list
            .elems
            .iter()
            .map(|name| match name {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(name),
                    ..
                }) => name.value(),
                _ => panic!("a name is a literal"),
            })
            .collect())
    }

    #[track_caller]
    fn accepts(source: &str, expected: &[&str]) {
        let expected = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(source), Ok(expected), "{source}");
    }

    #[track_caller]
    fn refuses(source: &str, expected: &[&str]) {
        let expected = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(names(source), Err(expected), "{source}");
    }

    #[test]
    fn names_are_those_that_serde_writes() {
        accepts("enum E { A, BeeHive }", &["A", "BeeHive"]);
        accepts("enum E { A(u8), B { b: u8 }, C() }", &["A", "B", "C"]);
        accepts("enum E { r#As }", &["As"]);
        accepts(
            "#[serde(tag = \"type\", rename_all = \"snake_case\")] enum E { A, BeeHive }",
            &["a", "bee_hive"],
        );
        accepts(
            "#[serde(rename_all(serialize = \"kebab-case\", deserialize = \"camelCase\"))]
             enum E { BeeHive }",
            &["bee-hive"],
        );
        accepts(
            "#[serde(rename_all(deserialize = \"camelCase\"))] enum E { BeeHive }",
            &["BeeHive"],
        );
        accepts(
            "#[serde(rename_all = \"UPPERCASE\")] enum E {
                 #[serde(rename = \"b\")] A,
                 #[serde(rename(serialize = \"d\", deserialize = \"e\"))] C,
                 #[serde(rename(deserialize = \"e\"))] F,
             }",
            &["b", "d", "F"],
        );
    }

    #[test]
    fn skipped_variants_have_no_name() {
        accepts(
            "enum E { A, #[serde(skip)] B, #[serde(skip_serializing)] C, #[serde(skip_deserializing)] D }",
            &["A", "D"],
        );
        accepts("enum E { A, #[serde(skip, rename = \"A\")] B }", &["A"]);
        accepts(
            "enum E { A, #[serde(skip, rename = \"headwater:end\")] B }",
            &["A"],
        );
    }

    #[test]
    fn other_attributes_are_skipped() {
        accepts(
            "#[serde(tag = \"t\", content = \"c\", crate = \"serde\", deny_unknown_fields)]
             #[serde(bound(serialize = \"T: Serialize\"), rename_all_fields(serialize = \"camelCase\"))]
             #[schemars(rename_all = \"UPPERCASE\")]
             #[doc = \"d\"]
             enum E<T> { #[serde(other, alias = \"x\", with = \"m\", borrow)] A(T), #[default] B }",
            &["A", "B"],
        );
    }

    #[test]
    fn generics_and_conditions_are_kept() {
        let input = "enum E<'a, T: Copy, const N: usize> where T: Clone { A(&'a [T; N]) }";
        let tokens = expand(input.parse().expect("the source is Rust")).to_string();
        let expected = quote! {
            impl<'a, T: Copy, const N: usize> ::headwater::Events for E<'a, T, N> where T: Clone
        };
        assert!(tokens.contains(&expected.to_string()), "{tokens}");
    }

    #[test]
    fn enums_that_cannot_be_sent_are_refused() {
        for source in ["struct E;", "struct E { a: u8 }", "union E { a: u8 }"] {
            refuses(
                source,
                &["`Events` is for enums, whose variants are the events"],
            );
        }
        let empty = "`E` has no variant that could be sent";
        refuses("enum E {}", &[empty]);
        refuses("enum E { #[serde(skip)] A }", &[empty]);
        refuses(
            "enum E { A, B, #[serde(rename = \"A\")] C }",
            &["`A` and `C` are both sent as the event `A`"],
        );
        refuses(
            "#[serde(rename_all = \"lowercase\")] enum E { Ab, AB }",
            &["`Ab` and `AB` are both sent as the event `ab`"],
        );
        for name in [r"a\nb", r"a\rb", r"\n"] {
            refuses(
                &format!("enum E {{ #[serde(rename = \"{name}\")] A }}"),
                &["the name of an event is one line (WHATWG HTML §9.2.5)"],
            );
        }
        refuses(
            "enum E { #[serde(rename = \"\")] A }",
            &["an event without a name reaches a browser as `message`"],
        );
    }

    #[test]
    fn reserved_names_are_refused_and_all_errors_reported() {
        refuses(
            "enum E { #[serde(rename = \"headwater:end\")] End, A, #[serde(rename(serialize = \"headwater:mine\"))] Mine }",
            &[
                "the event `headwater:end` begins with `headwater:`, by which Headwater itself talks to clients",
                "the event `headwater:mine` begins with `headwater:`, by which Headwater itself talks to clients",
            ],
        );
        accepts(
            "#[serde(rename_all = \"snake_case\")] enum E { End, Error, Trimmed, #[serde(rename = \"headwater\")] Name }",
            &["end", "error", "trimmed", "headwater"],
        );
    }

    #[test]
    fn a_name_that_is_not_a_string_is_an_error() {
        refuses(
            "enum E { #[serde(rename = 1)] A }",
            &["expected a string literal"],
        );
    }
}
