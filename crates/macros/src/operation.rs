//! `#[headwater::operation]`.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, GenericArgument, GenericParam, PathArguments, PathSegment, Result,
    ReturnType, Safety, Signature, Type, TypeParamBound, Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    parse_quote,
    spanned::Spanned,
};

use crate::docs::Docs;

/// The extractors that read the body, by the last segment of their type's path. A macro sees only
/// names. For an extractor that isn't listed the compiler still refuses the handler, with a less
/// helpful message.
const BODY_EXTRACTORS: [&str; 8] = [
    "Body",
    "Bytes",
    "Form",
    "Json",
    "Multipart",
    "RawForm",
    "Request",
    "String",
];

/// The attributes above the function that are for callers or lints. Other attributes, such as
/// `#[tracing::instrument]`, apply to the original function.
const OUTER_ATTRIBUTES: [&str; 10] = [
    "allow",
    "cfg",
    "cfg_attr",
    "deny",
    "deprecated",
    "doc",
    "expect",
    "forbid",
    "must_use",
    "warn",
];

pub(crate) fn expand(arguments: &TokenStream, item: &TokenStream) -> TokenStream {
    expansion(arguments, item).unwrap_or_else(|error| {
        // The item stays, to avoid a second error about an unknown name.
        let error = error.into_compile_error();
        quote!(#error #item)
    })
}

fn expansion(arguments: &TokenStream, item: &TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "`operation` takes no arguments: say tags, security and the like where the route is added",
        ));
    }
    if !mentions(item, "fn") {
        return Err(Error::new(
            Span::call_site(),
            "`operation` goes on a handler, which is an `async fn`",
        ));
    }
    let function: Function = syn::parse2(item.clone())?;
    function.check()?;
    Ok(function.expand())
}

/// A parsed function. Its body isn't parsed, so the compiler reports errors in it.
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl Function {
    /// Refuses functions that aren't handlers, as far as that can be determined without types.
    fn check(&self) -> Result<()> {
        let Signature {
            ident,
            asyncness,
            fn_token,
            inputs,
            ..
        } = &self.signature;
        if let Some(FnArg::Receiver(receiver)) = inputs.first() {
            return Err(Error::new_spanned(
                receiver,
                "a handler is a function of its own, without `self`: what it needs, it takes with `State`",
            ));
        }
        if asyncness.is_none() {
            return Err(Error::new_spanned(
                quote!(#fn_token #ident),
                format!("a handler is an `async fn`: write `async fn {ident}`"),
            ));
        }
        self.check_qualifiers()?;
        for argument in self.arguments() {
            if let Some(span) = find(&argument.to_token_stream(), "impl") {
                return Err(Error::new(
                    span,
                    "what a handler takes has a name: write the type, or a type parameter of the function",
                ));
            }
        }
        if let Some(span) = find(&self.signature.to_token_stream(), "Self") {
            return Err(Error::new(
                span,
                "a handler is a function of its own: write the type's name in place of `Self`",
            ));
        }
        self.check_returned()?;
        self.check_options()?;
        self.check_bodies()
    }

    /// Checks that a stream is returned as a type that names its items.
    fn check_returned(&self) -> Result<()> {
        let ReturnType::Type(_, returned) = &self.signature.output else {
            return Ok(());
        };
        if let Some((stream, item)) = nameless_stream(returned) {
            let item = item.unwrap_or_else(|| "T".to_owned());
            return Err(Error::new_spanned(
                stream,
                format!(
                    "a handler returns a stream as `Streaming<{item}>`: write that as the type, and \
                     `Streaming::new(…)` around the stream"
                ),
            ));
        }
        if let Some((items, item)) = stream_of_results(returned) {
            return Err(Error::new_spanned(
                items,
                format!(
                    "the type of a stream names its items alone: write `Streaming<{item}>`; `Streaming::new(…)` and \
                     `Streaming::try_new(…)` take `Result`s, and end the stream at the first error"
                ),
            ));
        }
        Ok(())
    }

    /// Checks that no argument is the `Option` of an extractor that is always present.
    fn check_options(&self) -> Result<()> {
        for argument in self.arguments() {
            if last_name(argument).is_none_or(|name| name != "Option") {
                continue;
            }
            let Some(name) = held_types(argument).find_map(last_name) else {
                continue;
            };
            let advice = if ["Query", "Headers", "Cookies"]
                .iter()
                .any(|known| name == known)
            {
                "give the fields of its type the type `Option<…>`, or `#[serde(default)]`"
            } else if name == "State" {
                "take it without `Option`"
            } else {
                continue;
            };
            return Err(Error::new_spanned(
                argument,
                format!("`{name}` is never absent: {advice}"),
            ));
        }
        Ok(())
    }

    fn check_qualifiers(&self) -> Result<()> {
        let Signature {
            constness,
            safety,
            abi,
            variadic,
            ..
        } = &self.signature;
        let safety = match safety {
            Safety::Unsafe(qualifier) => Some(qualifier.span()),
            Safety::Safe(qualifier) => Some(qualifier.span()),
            Safety::Default => None,
        };
        let qualifiers = [
            constness.map(|it| it.span()),
            safety,
            abi.as_ref().map(Spanned::span),
            variadic.as_ref().map(Spanned::span),
        ];
        match qualifiers.into_iter().flatten().next() {
            None => Ok(()),
            Some(span) => Err(Error::new(
                span,
                "a handler is a plain `async fn`: leave this out",
            )),
        }
    }

    /// Checks that at most one argument reads the body, and that it is the last one.
    fn check_bodies(&self) -> Result<()> {
        let arguments: Vec<_> = self.arguments().collect();
        let bodies: Vec<_> = arguments
            .iter()
            .enumerate()
            .filter_map(|(index, argument)| Some((index, argument, body_extractor(argument)?)))
            .collect();
        match bodies.as_slice() {
            [] => Ok(()),
            [(index, ..)] if index + 1 == arguments.len() => Ok(()),
            [(_, argument, name)] => Err(Error::new_spanned(
                argument,
                format!("`{name}` reads the request's body, so it comes last: move it to the end"),
            )),
            [(.., first), .., (_, argument, name)] => Err(Error::new_spanned(
                argument,
                format!(
                    "a request has one body, and `{first}` reads it already: leave one of them out{}",
                    if first == name {
                        ", or put both values into one type"
                    } else {
                        ""
                    }
                ),
            )),
        }
    }

    /// Returns the types of the arguments.
    fn arguments(&self) -> impl Iterator<Item = &Type> {
        self.signature
            .inputs
            .iter()
            .filter_map(|input| match input {
                FnArg::Typed(argument) => Some(&*argument.ty),
                FnArg::Receiver(_) => None,
            })
    }

    /// Returns the original function inside one that wraps its result.
    ///
    /// The inner function has the same name and generics, so that messages of the compiler and of
    /// `tracing` match the source.
    fn expand(self) -> TokenStream {
        let docs = Docs::read(&self.attributes);
        let (outer_attributes, inner_attributes): (Vec<_>, Vec<_>) =
            self.attributes.iter().partition(|attribute| {
                OUTER_ATTRIBUTES
                    .iter()
                    .any(|outer| attribute.path().is_ident(outer))
            });
        let assertions = self.assertions();
        let Self {
            visibility,
            signature: inner,
            body,
            ..
        } = &self;

        let name = &inner.ident;
        let id = name.unraw().to_string();
        let summary = &docs.summary;
        let description = docs.description();

        let returned = match &inner.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, returned) => quote!(#returned),
        };
        let mut outer = inner.clone();
        outer.output = parse_quote! {
            -> ::headwater::Described<#returned, impl ::headwater::Docs>
        };
        // Not the patterns: the inner function receives each argument as a whole and destructures
        // it.
        let mut names = Vec::new();
        for (index, input) in outer.inputs.iter_mut().enumerate() {
            if let FnArg::Typed(argument) = input {
                let name = Ident::new(&format!("argument_{index}"), Span::mixed_site());
                argument.attrs.clear();
                argument.pat = parse_quote!(#name);
                names.push(name);
            }
        }
        let generics = turbofish(inner);

        // Each block limits its names to itself. They must not be visible in the handler.
        quote! {
            #(#outer_attributes)*
            #visibility #outer {
                let handler = {
                    // The lint applies to the outer function already.
                    #[allow(clippy::too_many_arguments)]
                    #(#inner_attributes)*
                    #inner #body

                    #name #generics (#(#names),*)
                };
                #assertions
                {
                    struct Documented;

                    impl ::headwater::Docs for Documented {
                        const NAME: &'static str = #id;
                        const SUMMARY: &'static str = #summary;
                        const DESCRIPTION: &'static str = #description;
                    }

                    ::headwater::Described::<_, Documented>::new(handler.await)
                }
            }
        }
    }

    /// Returns, for each argument and for the return type, a statement that requires its trait,
    /// with the span of that type. Without them the compiler would only report that the whole
    /// function isn't a handler.
    fn assertions(&self) -> TokenStream {
        let inputs = self.arguments().map(|argument| {
            quote_spanned! {argument.span()=>
                let _ = <#argument as ::headwater::OperationInput>::describe;
            }
        });
        let output = match &self.signature.output {
            ReturnType::Default => None,
            // A type without a name can't be named here either: the future is checked that returns it.
            ReturnType::Type(_, returned) if mentions(&returned.to_token_stream(), "impl") => {
                Some(quote_spanned! {returned.span()=>
                    ::headwater::describes_its_output(&handler);
                })
            }
            ReturnType::Type(_, returned) => Some(quote_spanned! {returned.span()=>
                let _ = <#returned as ::headwater::OperationOutput>::describe;
            }),
        };
        quote!(#(#inputs)* #output)
    }
}

/// Returns the generic arguments that pass on the function's own parameters. Lifetimes are
/// inferred.
fn turbofish(signature: &Signature) -> TokenStream {
    let mut names = signature
        .generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
            GenericParam::Lifetime(_) => None,
        })
        .peekable();
    if names.peek().is_none() {
        return TokenStream::new();
    }
    quote!(::<#(#names),*>)
}

/// Returns the name of the extractor that reads the body, if this type is one or contains one in an
/// `Option` or `Result`.
fn body_extractor(argument: &Type) -> Option<String> {
    let Type::Path(path) = argument else {
        return None;
    };
    let last = path.path.segments.last()?;
    if BODY_EXTRACTORS.iter().any(|name| last.ident == name) {
        return Some(last.ident.to_string());
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(held) if last.ident == "Option" || last.ident == "Result" => {
            body_extractor(held)
        }
        _ => None,
    }
}

/// The traits of types that yield items one after the other.
const ITEM_TRAITS: [&str; 4] = ["Iterator", "IntoIterator", "Stream", "TryStream"];

/// Returns the `impl Stream<Item = …>` in a type, even as an argument of another one, and the name
/// of its items.
fn nameless_stream(returned: &Type) -> Option<(&Type, Option<String>)> {
    if let Type::ImplTrait(of) = returned {
        let segments = of.bounds.iter().filter_map(|bound| match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last(),
            _ => None,
        });
        let mut streams =
            segments.filter(|segment| ITEM_TRAITS.iter().any(|name| segment.ident == name));
        let stream = streams.next()?;
        let item = arguments_of(stream).find_map(|argument| match argument {
            GenericArgument::AssocType(named) if named.ident == "Item" => {
                let item = result_of(&named.ty).unwrap_or(&named.ty);
                Some(written(item))
            }
            _ => None,
        });
        return Some((returned, item));
    }
    held_types(returned).find_map(nameless_stream)
}

/// Returns the `Streaming<Result<T, …>>` in a type, even as an argument of another one, and `T`.
fn stream_of_results(returned: &Type) -> Option<(&Type, String)> {
    if let Type::Path(path) = returned
        && let Some(last) = path.path.segments.last()
        && last.ident == "Streaming"
        && let Some(item) = held_types(returned).next().and_then(result_of)
    {
        return Some((returned, written(item)));
    }
    held_types(returned).find_map(stream_of_results)
}

/// Returns `T` if a type is `Result<T, …>`.
fn result_of(of: &Type) -> Option<&Type> {
    let is_result = last_name(of)? == "Result";
    held_types(of).next().filter(|_| is_result)
}

/// Returns the last segment of a type's path.
fn last_name(of: &Type) -> Option<&Ident> {
    match of {
        Type::Path(path) => Some(&path.path.segments.last()?.ident),
        _ => None,
    }
}

/// Returns the types that are the arguments of a type.
fn held_types(of: &Type) -> impl Iterator<Item = &Type> {
    let last = match of {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let arguments = last.into_iter().flat_map(arguments_of);
    arguments.filter_map(|argument| match argument {
        GenericArgument::Type(held) => Some(held),
        _ => None,
    })
}

fn arguments_of(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten()
}

/// Returns a type as it is written, without the spaces between tokens.
fn written(of: &Type) -> String {
    of.to_token_stream()
        .to_string()
        .replace(' ', "")
        .replace(',', ", ")
}

fn mentions(tokens: &TokenStream, word: &str) -> bool {
    find(tokens, word).is_some()
}

/// Returns the span of the first occurrence of a word, at any depth.
fn find(tokens: &TokenStream, word: &str) -> Option<Span> {
    tokens.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) => (ident == word).then(|| ident.span()),
        TokenTree::Group(group) => find(&group.stream(), word),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: Option<&str>) {
        let item = source.parse().expect("the source is Rust");
        let error = expansion(&TokenStream::new(), &item).err();
        let message = error.map(|error| error.to_string());
        assert_eq!(message.as_deref(), expected, "{source}");
    }

    #[test]
    fn a_handler_of_any_shape_is_accepted() {
        for source in [
            "async fn f() {}",
            "#[cfg(x)] pub(in crate::a) async fn r#f<'a, T: A, const N: usize>(mut a: T) -> R where T: B {}",
            "async fn f(State(S { a, .. }): State<S>, [b, c]: Query<[u8; 2]>) -> impl IntoResponse { a }",
            "async fn f(a: Option<Path<u8>>, b: Result<Json<u8>, Problem>) {}",
            "async fn f(a: Path<String>, b: Json<Bytes>) {}",
            "async fn f() { #![allow(x)] what the compiler makes of (this) is not ours }",
        ] {
            check(source, None);
        }
    }

    #[test]
    fn a_body_must_be_read_once_and_last() {
        let not_last = |name| {
            format!("`{name}` reads the request's body, so it comes last: move it to the end")
        };
        check("async fn f(a: Json<T>, b: U) {}", Some(&not_last("Json")));
        check(
            "async fn f(a: axum::Form<T>, b: U) {}",
            Some(&not_last("Form")),
        );
        check(
            "async fn f(a: Option<Bytes>, b: U) {}",
            Some(&not_last("Bytes")),
        );
        check(
            "async fn f(a: Json<T>, b: U, c: Json<V>) {}",
            Some(
                "a request has one body, and `Json` reads it already: leave one of them out, or put both \
                 values into one type",
            ),
        );
        check(
            "async fn f(a: Json<T>, b: String) {}",
            Some("a request has one body, and `Json` reads it already: leave one of them out"),
        );
    }

    #[test]
    fn a_stream_must_be_returned_with_the_name_of_its_items() {
        let named = |item: &str| {
            format!(
                "a handler returns a stream as `Streaming<{item}>`: write that as the type, and `Streaming::new(…)` \
                 around the stream"
            )
        };
        for (returned, item) in [
            ("impl Stream<Item = Tick>", "Tick"),
            (
                "impl futures_core::Stream<Item = a::Tick> + Send + 'static",
                "a::Tick",
            ),
            ("impl Stream<Item = Result<Tick, Problem>>", "Tick"),
            ("Result<impl Stream<Item = Vec<u8>>, Problem>", "Vec<u8>"),
            ("impl Iterator<Item = u64>", "u64"),
            ("impl Stream", "T"),
        ] {
            check(
                &format!("async fn f() -> {returned} {{ a }}"),
                Some(&named(item)),
            );
        }
        let alone = "the type of a stream names its items alone: write `Streaming<Tick>`; `Streaming::new(…)` and \
                     `Streaming::try_new(…)` take `Result`s, and end the stream at the first error";
        for returned in [
            "Streaming<Result<Tick, Problem>>",
            "Result<headwater::Streaming<io::Result<Tick>>, Problem>",
        ] {
            check(&format!("async fn f() -> {returned} {{ a }}"), Some(alone));
        }
        for returned in [
            "Result<Streaming<Tick>, Problem>",
            "impl IntoResponse",
            "Sse<impl IntoResponse>",
        ] {
            check(&format!("async fn f() -> {returned} {{ a }}"), None);
        }
    }

    #[test]
    fn the_items_text_survives_an_error() {
        let item = quote!(
            fn f() {}
        );
        let expanded = expand(&TokenStream::new(), &item).to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
        assert!(expanded.ends_with(&item.to_string()), "{expanded}");
    }

    #[test]
    fn attributes_are_moved_to_the_function_that_they_apply_to() {
        let item = quote! {
            #[doc = "One."]
            #[instrument]
            #[deprecated]
            async fn f() {}
        };
        let expanded = expand(&TokenStream::new(), &item).to_string();
        let (outer, inner) = expanded.split_once('{').expect("there is a body");
        let place = |attribute: &str| (outer.contains(attribute), inner.contains(attribute));
        assert_eq!(place("# [doc ="), (true, false), "{expanded}");
        assert_eq!(place("# [deprecated]"), (true, false), "{expanded}");
        assert_eq!(place("# [instrument]"), (false, true), "{expanded}");
    }
}
