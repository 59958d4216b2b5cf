//! The description of one operation, derived from the types of its handler.

mod core_schemas;
mod described;
mod handler;
mod has_schema;
mod input;
mod output;
mod reply;
mod validate_output;

use std::any::type_name;

use headwater_wire::Format;
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::{Problem, SecurityScheme};

pub(crate) use self::{
    core_schemas::{take_names, take_notices},
    handler::Operated,
    input::too_large,
    reply::{Content, Header, Reply, Shape},
    validate_output::{CheckOutgoing, check_outgoing},
};
pub use self::{
    described::{Described, Docs, describes_its_output},
    handler::OperationHandler,
    has_schema::HasSchema,
    input::OperationInput,
    output::{Accepted, Created, OperationOutput},
};

/// An operation: one method of one path, as the OpenAPI document describes it.
///
/// The types of a handler fill it ([`OperationInput`], [`OperationOutput`]). The methods of
/// [`MethodRoute`](crate::MethodRoute) add the information that types don't contain.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    /// Name of the handler's function, if it has one.
    pub(crate) name: Option<&'static str>,
    pub(crate) id: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) deprecated: bool,
    pub(crate) hidden: bool,
    /// Names of security schemes, any one of which is enough. `None` means the app's default.
    pub(crate) security: Option<Vec<String>>,
    /// Security schemes that the operation's types describe, with their names.
    pub(crate) security_schemes: Vec<(String, SecurityScheme)>,
    /// `true` if callers without credentials are accepted, too.
    pub(crate) is_security_optional: bool,
    /// The scopes or roles that the caller needs.
    pub(crate) scopes: Vec<String>,
    pub(crate) parameters: Vec<Parameters>,
    pub(crate) body: Option<Body>,
    /// Replies by status. `None` is every other status (OpenAPI's `default`).
    pub(crate) replies: Vec<(Option<StatusCode>, Reply)>,
    /// Status for the replies of the handler's type while that type describes itself.
    success: Success,
}

#[derive(Debug, Clone, Copy)]
enum Success {
    Status(StatusCode),
    Any,
}

impl Default for Success {
    fn default() -> Self {
        Self::Status(StatusCode::OK)
    }
}

/// Location of a parameter in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum In {
    /// In the path, at a `{name}` of the route.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
    /// In a cookie.
    Cookie,
}

impl In {
    /// Returns the location's name in OpenAPI and in lists of faults.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// The parameters that one extractor reads.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) place: In,
    pub(crate) of: ParametersOf,
}

#[derive(Debug, Clone)]
pub(crate) enum ParametersOf {
    /// One parameter for each property of a type.
    Type(SchemaOf),
    /// One named parameter.
    Named {
        name: String,
        description: String,
        schema: SchemaOf,
        required: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) required: bool,
    pub(crate) content: Content,
    pub(crate) examples: Vec<Value>,
}

/// Functions that create a type's schema. They run when the document is rendered, because the types
/// that share components are known only then.
#[derive(Clone, Copy)]
pub(crate) struct SchemaOf {
    pub(crate) inline: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) referenced: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) type_name: fn() -> &'static str,
}

impl SchemaOf {
    pub(crate) fn new<T: JsonSchema>() -> Self {
        Self {
            inline: T::json_schema,
            referenced: |generator| generator.subschema_for::<T>(),
            type_name: type_name::<T>,
        }
    }
}

impl std::fmt::Debug for SchemaOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str((self.type_name)())
    }
}

impl Operation {
    /// Creates the description of `H` from its types.
    pub(crate) fn of<H, T, S>() -> Self
    where
        H: OperationHandler<T, S>,
    {
        let mut operation = Self {
            name: function_name(type_name::<H>()),
            ..Self::default()
        };
        H::describe(&mut operation);
        operation
    }

    /// Adds a parameter for each property of `T`, which must have an object's schema.
    pub fn parameters<T: JsonSchema>(&mut self, place: In) {
        let of = ParametersOf::Type(SchemaOf::new::<T>());
        self.parameters.push(Parameters { place, of });
    }

    /// Adds one optional parameter: for an extractor of your own that reads, for example, a header.
    pub fn parameter<T: JsonSchema>(&mut self, place: In, name: &str, description: &str) {
        self.add_parameter::<T>(place, name, description, false);
    }

    /// Adds one required parameter.
    pub fn required_parameter<T: JsonSchema>(&mut self, place: In, name: &str, description: &str) {
        self.add_parameter::<T>(place, name, description, true);
    }

    fn add_parameter<T: JsonSchema>(
        &mut self,
        place: In,
        name: &str,
        description: &str,
        required: bool,
    ) {
        let of = ParametersOf::Named {
            name: name.to_owned(),
            description: description.to_owned(),
            schema: SchemaOf::new::<T>(),
            required,
        };
        self.parameters.push(Parameters { place, of });
    }

    /// Sets the request's body to a `T` as `media_type`.
    pub fn body<T: JsonSchema>(&mut self, media_type: &'static str) {
        self.set_body(Content::of(media_type, Shape::Input(SchemaOf::new::<T>())));
    }

    /// Sets the request's body to any content as `media_type`.
    pub fn raw_body(&mut self, media_type: &'static str) {
        self.set_body(Content::of(media_type, Shape::Any));
    }

    /// Adds a media type that the body may also have.
    pub fn also_body(&mut self, media_type: &'static str) {
        if let Some(body) = &mut self.body {
            body.content.0.push((media_type, Shape::Any));
        }
    }

    fn set_body(&mut self, content: Content) {
        self.body = Some(Body {
            required: true,
            content,
            examples: Vec::new(),
        });
    }

    /// Marks the body as optional.
    pub fn optional_body(&mut self) {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
    }

    /// Adds a reply of a `T` as JSON with this status.
    pub fn reply<T: JsonSchema>(&mut self, status: StatusCode, description: &str) {
        let content = Content::of("application/json", Shape::Output(SchemaOf::new::<T>()));
        self.add_reply(Some(status), Reply::new(description, content));
    }

    /// Adds a reply without a body.
    pub fn empty_reply(&mut self, status: StatusCode, description: &str) {
        self.add_reply(Some(status), Reply::new(description, Content::none()));
    }

    /// Adds a reply of text or bytes, as `media_type`. If the status already has a reply, that
    /// keeps its description and gains the media type.
    pub fn raw_reply(&mut self, status: StatusCode, media_type: &'static str, description: &str) {
        let content = Content::of(media_type, Shape::Any);
        self.add_reply(Some(status), Reply::new(description, content));
    }

    /// Adds a reply that streams items of `T` in these formats. If the status already has a reply,
    /// that keeps its description and gains the formats.
    pub fn stream_reply<T: JsonSchema>(
        &mut self,
        status: StatusCode,
        formats: &[Format],
        description: &str,
    ) {
        let items = Shape::Items(SchemaOf::new::<T>());
        let content = formats
            .iter()
            .map(|format| (format.media_types()[0], items));
        self.add_reply(
            Some(status),
            Reply::new(description, Content(content.collect())),
        );
    }

    /// Describes a header of the reply with this status, which must have been added before.
    pub fn reply_header(&mut self, status: StatusCode, name: &'static str, description: &str) {
        let reply = self
            .replies
            .iter_mut()
            .find(|(known, _)| *known == Some(status));
        if let Some((_, reply)) = reply {
            reply.add_header(Header {
                name,
                description: description.to_owned(),
            });
        }
    }

    /// Adds an error response: a [`Problem`](crate::Problem) with this status. If the status
    /// already has a reply, that keeps its description.
    pub fn error(&mut self, status: StatusCode, description: &str) {
        self.add_reply(Some(status), Reply::problem(description));
    }

    /// Adds an error response whose problem has the members of `T`.
    pub(crate) fn problem_of<T: JsonSchema>(&mut self, status: StatusCode, description: &str) {
        let shape = Shape::Output(SchemaOf::new::<T>());
        let content = Content::of(Problem::CONTENT_TYPE, shape);
        self.add_reply(Some(status), Reply::new(description, content));
    }

    /// Documents that any status may be a [`Problem`](crate::Problem).
    pub fn any_error(&mut self) {
        self.add_reply(None, Reply::problem("Something went wrong"));
    }

    /// Adds a tag.
    pub fn tag(&mut self, tag: &str) {
        self.tags.push(tag.to_owned());
    }

    /// Requires the app's security scheme of this name.
    pub fn security(&mut self, scheme: &str) {
        self.security
            .get_or_insert_default()
            .push(scheme.to_owned());
    }

    /// Requires a security scheme, and describes it in case the app has none of this name.
    pub fn security_scheme(&mut self, name: &str, scheme: SecurityScheme) {
        self.security(name);
        self.security_schemes.push((name.to_owned(), scheme));
    }

    /// Accepts callers without any of the security schemes, too.
    pub fn optional_security(&mut self) {
        self.is_security_optional = true;
    }

    /// Requires a scope or role of the caller, whichever security scheme it uses (OpenAPI 3.2, Security
    /// Requirement Object).
    pub fn scope(&mut self, scope: &str) {
        self.scopes.push(scope.to_owned());
    }

    /// Sets the name, summary and description from a function's doc comment.
    pub(crate) fn docs<D: Docs>(&mut self) {
        self.name = Some(D::NAME);
        if !D::SUMMARY.is_empty() {
            self.summary = Some(D::SUMMARY.to_owned());
        }
        if !D::DESCRIPTION.is_empty() {
            self.description = Some(D::DESCRIPTION.to_owned());
        }
    }

    /// Adds the reply of a type that represents success.
    pub(crate) fn success(&mut self, description: &str, content: Content) {
        let (status, description) = match self.success {
            Success::Status(StatusCode::OK) => (Some(StatusCode::OK), description),
            Success::Status(status) => (
                Some(status),
                status.canonical_reason().unwrap_or(description),
            ),
            Success::Any => (None, description),
        };
        self.add_reply(status, Reply::new(description, content));
    }

    /// Lets `R` describe itself under another status than 200.
    pub(crate) fn success_with<R: OperationOutput>(&mut self, status: Option<StatusCode>) {
        let before = self.success;
        self.success = status.map_or(Success::Any, Success::Status);
        R::describe(self);
        self.success = before;
    }

    pub(crate) fn add_reply(&mut self, status: Option<StatusCode>, reply: Reply) {
        match self.replies.iter_mut().find(|(known, _)| *known == status) {
            Some((_, known)) => known.merge(reply),
            None => self.replies.push((status, reply)),
        }
    }
}

/// Returns a function's name from the name of its type: `ticks` for `tour::ticks`. A closure has
/// none.
fn function_name(type_name: &'static str) -> Option<&'static str> {
    let path = type_name.split('<').next().unwrap_or(type_name);
    path.rsplit("::")
        .next()
        .filter(|name| !name.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_a_name_and_a_closure_has_none() {
        assert_eq!(function_name("tour::ticks"), Some("ticks"));
        assert_eq!(
            function_name("tour::ticks<alloc::string::String>"),
            Some("ticks")
        );
        assert_eq!(function_name("tour::main::{{closure}}"), None);
    }
}
