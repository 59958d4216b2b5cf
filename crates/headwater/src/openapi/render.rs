use std::collections::BTreeMap;

use headwater_wire::Format;
use serde_json::{Map, Value, json};

use super::{OpenApi, components::Components, items, parameters::parameters};
use crate::{
    Problem,
    app::{Api, Entry},
    operation::{Content, In, Operation, Reply, SchemaOf, Shape},
};

/// Renders the OpenAPI document of an app.
///
/// # Panics
/// A handler's types don't fit its route.
pub(crate) fn render(api: &Api, version: OpenApi) -> Value {
    let mut components = Components::new();
    let mut paths = Map::new();
    let mut ids = Ids::default();
    for entry in api
        .operations
        .iter()
        .filter(|entry| !entry.operation.hidden)
    {
        let (path, names) = template(&entry.path);
        let id = ids.name(entry);
        let mut render = Render {
            api,
            version,
            components: &mut components,
        };
        let operation = render
            .operation(&entry.operation, id, &names)
            .unwrap_or_else(|fault| panic!("{} {}: {fault}", entry.method, entry.path));
        paths.entry(path).or_insert_with(|| json!({}))[entry.method] = operation;
    }
    let mut info = json!({"title": api.title, "version": api.version});
    if let Some(description) = &api.description {
        info["description"] = description.as_str().into();
    }
    if let Some((name, identifier)) = &api.license {
        info["license"] = json!({"name": name, "identifier": identifier});
    }
    let mut document = json!({
        "openapi": match version {
            OpenApi::V3_1 => "3.1.1",
            OpenApi::V3_2 => "3.2.0",
        },
        "info": info,
    });
    if !api.servers.is_empty() {
        document["servers"] = api.servers.iter().map(|url| json!({"url": url})).collect();
    }
    // An empty list documents that no scheme is required.
    document["security"] = security(&api.security, &[]);
    if !api.tags.is_empty() {
        let tags = api.tags.iter();
        document["tags"] = tags
            .map(|(name, description)| json!({"name": name, "description": description}))
            .collect();
    }
    document["paths"] = paths.into();
    let schemas = components.finish(&mut document);
    let mut shared = Map::new();
    if !schemas.is_empty() {
        shared.insert("schemas".to_owned(), schemas.into());
    }
    if !api.security_schemes.is_empty() {
        let schemes = api.security_schemes.iter();
        let schemes: Map<_, _> = schemes
            .map(|(name, scheme)| (name.clone(), scheme.to_value()))
            .collect();
        shared.insert("securitySchemes".to_owned(), schemes.into());
    }
    if !shared.is_empty() {
        document["components"] = shared.into();
    }
    document
}

/// Converts an axum path to an OpenAPI path, in which `{*rest}` is `{rest}`. Returns the path and
/// its names.
fn template(path: &str) -> (String, Vec<&str>) {
    let mut names = Vec::new();
    let mut template = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        template.push_str(before);
        template.push('{');
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let name = name.trim_start_matches('*');
        template.push_str(name);
        template.push('}');
        names.push(name);
        rest = after;
    }
    template.push_str(rest);
    (template, names)
}

/// Assigns unique operation ids.
#[derive(Default)]
struct Ids(BTreeMap<String, u32>);

impl Ids {
    fn name(&mut self, entry: &Entry) -> String {
        let operation = &entry.operation;
        let id = match (&operation.id, operation.name) {
            (Some(id), _) => id.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => by_path(entry),
        };
        let id = if self.0.contains_key(&id) {
            format!("{id}_{}", by_path(entry))
        } else {
            id
        };
        let count = self.0.entry(id.clone()).or_default();
        *count += 1;
        match count {
            1 => id,
            n => format!("{id}_{n}"),
        }
    }
}

/// Returns an id such as `get_prices_symbol` for `GET /prices/{symbol}`.
fn by_path(entry: &Entry) -> String {
    let words = entry
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    std::iter::once(entry.method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// Converts a name such as `list_prices` to a summary: `List prices`.
fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

/// Returns security requirements, any one of which is enough (OpenAPI 3.2, Security Requirement
/// Object).
fn security(schemes: &[String], scopes: &[String]) -> Value {
    schemes.iter().map(|name| json!({name: scopes})).collect()
}

struct Render<'a> {
    api: &'a Api,
    version: OpenApi,
    components: &'a mut Components,
}

impl Render<'_> {
    fn operation(
        &mut self,
        operation: &Operation,
        id: String,
        names: &[&str],
    ) -> Result<Value, String> {
        let mut rendered = Map::new();
        if !operation.tags.is_empty() {
            rendered.insert("tags".to_owned(), operation.tags.clone().into());
        }
        let summary = operation.summary.clone();
        let summary = summary.or_else(|| operation.name.map(sentence));
        if let Some(summary) = summary {
            rendered.insert("summary".to_owned(), summary.into());
        }
        if let Some(description) = &operation.description {
            rendered.insert("description".to_owned(), description.as_str().into());
        }
        rendered.insert("operationId".to_owned(), id.into());
        let mut parameters = parameters(operation, names, self.components)?;
        if is_stream(operation) {
            add_format(&mut parameters);
        }
        if !parameters.is_empty() {
            rendered.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = &operation.body {
            let mut content = self.content(&body.content);
            for media_type in content
                .as_object_mut()
                .into_iter()
                .flat_map(Map::values_mut)
            {
                add_examples(media_type, &body.examples);
            }
            let body = json!({"required": body.required, "content": content});
            rendered.insert("requestBody".to_owned(), body);
        }
        rendered.insert("responses".to_owned(), self.replies(&operation.replies));
        if operation.deprecated {
            rendered.insert("deprecated".to_owned(), true.into());
        }
        if let Some(schemes) = &operation.security {
            let known = |name: &String| {
                self.api
                    .security_schemes
                    .iter()
                    .any(|(known, _)| known == name)
            };
            if let Some(unknown) = schemes.iter().find(|name| !known(name)) {
                return Err(format!("the app describes no security scheme `{unknown}`"));
            }
            let mut required = security(schemes, &operation.scopes);
            if let (true, Value::Array(required)) = (operation.is_security_optional, &mut required)
            {
                required.push(json!({}));
            }
            rendered.insert("security".to_owned(), required);
        }
        Ok(rendered.into())
    }

    fn replies(&mut self, replies: &[(Option<http::StatusCode>, Reply)]) -> Value {
        let mut replies: Vec<_> = replies.iter().collect();
        // `default` is last.
        replies.sort_by_key(|(status, _)| status.map_or(u16::MAX, |status| status.as_u16()));
        let replies = replies.into_iter().map(|(status, reply)| {
            let mut rendered = json!({"description": reply.description});
            if self.version == OpenApi::V3_1 && holds_items(&reply.content) {
                rendered["description"] = format!("{}. {SEQUENCES}", reply.description).into();
            }
            if !reply.headers.is_empty() {
                let headers = reply.headers.iter().map(|header| {
                    let rendered = json!({
                        "description": header.description,
                        "schema": {"type": "string"},
                    });
                    (header.name.to_owned(), rendered)
                });
                rendered["headers"] = headers.collect::<Map<_, _>>().into();
            }
            if !reply.content.0.is_empty() {
                rendered["content"] = self.content(&reply.content);
            }
            let status =
                status.map_or_else(|| "default".to_owned(), |status| status.as_str().to_owned());
            (status, rendered)
        });
        replies.collect::<Map<_, _>>().into()
    }

    fn content(&mut self, content: &Content) -> Value {
        let content = content.0.iter().map(|(media_type, shape)| {
            let rendered = match *shape {
                Shape::Input(of) => json!({"schema": self.components.input(of)}),
                Shape::Output(of) => json!({"schema": self.components.output(of).to_value()}),
                Shape::Items(item) => {
                    let format = Format::from_content_type(media_type).unwrap_or(Format::Ndjson);
                    let problem = self.components.output(SchemaOf::new::<Problem>());
                    let item = self.components.output(item);
                    items::media_type(format, item, &problem.to_value(), self.version)
                }
                Shape::Text => json!({"schema": {"type": "string"}}),
                Shape::Any => json!({}),
            };
            ((*media_type).to_owned(), rendered)
        });
        content.collect::<Map<_, _>>().into()
    }
}

/// Addition to the description of a stream in 3.1, which doesn't describe sequences.
const SEQUENCES: &str = "For `application/x-ndjson`, `application/json-seq` and `text/event-stream` the schema is \
    that of one line, record or event.";

fn holds_items(content: &Content) -> bool {
    let mut content = content.0.iter();
    content.any(|(_, shape)| matches!(shape, Shape::Items(_)))
}

fn is_stream(operation: &Operation) -> bool {
    let mut replies = operation.replies.iter();
    replies.any(|(_, reply)| holds_items(&reply.content))
}

/// Adds `?format=`, which every stream supports.
fn add_format(parameters: &mut Vec<Value>) {
    let taken = |parameter: &Value| parameter["name"] == "format" && parameter["in"] == "query";
    if parameters.iter().any(taken) {
        return;
    }
    parameters.push(json!({
        "name": "format",
        "in": In::Query.as_str(),
        "description": "The format of the stream, for a client that can't set `Accept`.",
        "schema": {"type": "string", "enum": Format::ALL.map(Format::name)},
    }));
}

fn add_examples(media_type: &mut Value, examples: &[Value]) {
    match examples {
        [] => {}
        [example] => media_type["example"] = example.clone(),
        examples => {
            let named = examples
                .iter()
                .zip(1..)
                .map(|(example, n)| (format!("example {n}"), json!({"value": example})));
            media_type["examples"] = named.collect::<Map<_, _>>().into();
        }
    }
}
