// The parts of an OpenAPI document that the pages use.

import { FORMATS, essenceOf } from "./formats.mjs";
import { choices, core, resolve, skeleton, typeOf } from "./schema.mjs";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];
const STREAMS = ["text/event-stream", "application/x-ndjson", "application/jsonl", "application/ndjson", "application/json-seq"];
/** Prefix of the names of events that Headwater itself sends. */
const RESERVED_PREFIX = "headwater:";

/** Fetches the document next to the page, at `url`. */
export async function load(url) {
  const response = await fetch(url, { headers: { accept: "application/json" }, credentials: "same-origin" });
  if (!response.ok) throw new Error(`${url.pathname} answered ${response.status}`);
  return response.json();
}

/**
 * Returns the base URL of the document's paths, with a trailing slash. It is the first server if this page comes
 * from it, otherwise the folder of the document, so that an app under a prefix works.
 */
export function baseOf(document, documentUrl) {
  const folder = new URL(".", documentUrl);
  const server = document.servers?.[0];
  if (!server?.url) return folder;
  const filled = server.url.replace(/\{([^}]*)\}/g, (whole, name) => server.variables?.[name]?.default ?? whole);
  let url;
  try {
    url = new URL(filled, documentUrl);
  } catch {
    return folder;
  }
  if (url.origin !== documentUrl.origin) return folder;
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  url.search = url.hash = "";
  return url;
}

/** Calls `visit` for each operation, with the path, the method, the operation and the path item. */
export function eachOperation(document, visit) {
  for (const [path, entry] of Object.entries(document.paths ?? {})) {
    const item = resolve(document, entry);
    for (const method of METHODS) {
      if (item[method]) visit(path, method.toUpperCase(), item[method], item);
    }
    for (const [method, operation] of Object.entries(item.additionalOperations ?? {})) visit(path, method, operation, item);
  }
}

/** Returns the name of an operation in a link. */
export function idOf(path, method, operation) {
  return operation.operationId ?? `${method} ${path}`;
}

/** Returns the media types of an operation's success, or `null` if none of them is a stream. */
export function streamOf(document, operation) {
  for (const [status, given] of Object.entries(operation.responses ?? {})) {
    if (!/^2/.test(status)) continue;
    const content = resolve(document, given).content ?? {};
    const streams = Object.entries(content).some(([type, media]) => {
      const resolved = resolve(document, media);
      return resolved.itemSchema !== undefined || STREAMS.includes(essenceOf(type));
    });
    if (streams) return content;
  }
  return null;
}

/** Returns the streaming operations for the player. */
export function streamingOperations(document) {
  const operations = [];
  eachOperation(document, (path, method, operation, item) => {
    const content = streamOf(document, operation);
    if (!content) return;
    operations.push({
      id: idOf(path, method, operation),
      path,
      method,
      summary: operation.summary ?? "",
      description: operation.description ?? "",
      tag: operation.tags?.[0] ?? "",
      deprecated: operation.deprecated === true,
      parameters: parametersOf(document, item, operation),
      body: bodyOf(document, operation),
      formats: formatsOf(content),
      events: eventNames(document, content),
      security: schemesOf(document, operation),
    });
  });
  return operations;
}

/** Returns the path's parameters and the operation's, which override them. */
function parametersOf(document, item, operation) {
  const found = new Map();
  for (const given of [...(item.parameters ?? []), ...(operation.parameters ?? [])]) {
    const parameter = resolve(document, given);
    // RFC 9110's own headers are not parameters (OpenAPI §4.12.1).
    if (parameter.in === "header" && ["accept", "content-type", "authorization"].includes(parameter.name?.toLowerCase())) continue;
    if (isFormatChoice(parameter)) continue;
    if (["path", "query", "header", "cookie"].includes(parameter.in)) found.set(`${parameter.in} ${parameter.name}`, parameter);
  }
  const order = ["path", "query", "header", "cookie"];
  return [...found.values()]
    .map((parameter) => describe(document, parameter))
    .sort((one, other) => order.indexOf(one.in) - order.indexOf(other.in));
}

/** Returns true for `?format=`, in place of which the player sends `Accept`. */
function isFormatChoice(parameter) {
  const names = FORMATS.map((format) => format.name);
  return parameter.in === "query" && parameter.name === "format" && parameter.schema?.enum?.every((name) => names.includes(name)) === true;
}

function describe(document, parameter) {
  const [contentType, media] = Object.entries(parameter.content ?? {})[0] ?? [];
  const schema = core(document, parameter.schema ?? media?.schema ?? {});
  return {
    in: parameter.in,
    name: parameter.name,
    required: parameter.required === true || parameter.in === "path",
    deprecated: parameter.deprecated === true,
    description: parameter.description ?? schema.description ?? "",
    schema,
    type: contentType ? "json" : typeOf(document, schema),
    choices: choices(document, schema),
    style: parameter.style ?? (parameter.in === "query" || parameter.in === "cookie" ? "form" : "simple"),
    explode: parameter.explode ?? (parameter.style === undefined ? parameter.in === "query" || parameter.in === "cookie" : parameter.style === "form"),
    example: parameter.example ?? firstExample(document, parameter) ?? schema.examples?.[0],
    fallback: schema.default,
  };
}

function bodyOf(document, operation) {
  if (!operation.requestBody) return null;
  const body = resolve(document, operation.requestBody);
  const types = Object.entries(body.content ?? {}).map(([type, given]) => {
    const media = resolve(document, given);
    const json = /[/+]json$/.test(essenceOf(type));
    const sample = media.example ?? firstExample(document, media) ?? (json ? skeleton(document, media.schema ?? {}) : "");
    return { type, json, schema: media.schema ?? {}, sample: json ? JSON.stringify(sample, null, 2) : String(sample ?? "") };
  });
  return types.length ? { required: body.required === true, description: body.description ?? "", types } : null;
}

function firstExample(document, holder) {
  const given = Object.values(holder.examples ?? {})[0];
  if (given === undefined) return undefined;
  const example = resolve(document, given);
  return example?.value ?? example?.dataValue;
}

/** Returns the available formats: known ones in our order, then the rest. */
function formatsOf(content) {
  const known = FORMATS.flatMap((format) => {
    const type = Object.keys(content).find((offered) => format.mediaTypes.includes(essenceOf(offered)));
    return type ? [{ name: format.name, label: format.label, type: essenceOf(type) }] : [];
  });
  const others = Object.keys(content)
    .map(essenceOf)
    .filter((type) => !FORMATS.some((format) => format.mediaTypes.includes(type)))
    .map((type) => ({ name: type, label: type, type }));
  return [...known, ...others];
}

/** Returns the names of the stream's documented events, except those that end it. */
function eventNames(document, content) {
  const media = Object.entries(content).find(([type]) => essenceOf(type) === "text/event-stream")?.[1];
  const names = new Set();
  const walk = (given, depth) => {
    if (depth > 6 || given === undefined) return;
    const schema = resolve(document, given);
    const event = resolve(document, schema.properties?.event);
    for (const name of [event.const, ...(event.enum ?? [])]) if (typeof name === "string") names.add(name);
    for (const branch of [...(schema.oneOf ?? []), ...(schema.anyOf ?? []), ...(schema.allOf ?? [])]) walk(branch, depth + 1);
  };
  walk(resolve(document, media).itemSchema, 0);
  return [...names].filter((name) => !name.startsWith(RESERVED_PREFIX));
}

/** Returns every security scheme that an operation may require, and if it works without any. */
function schemesOf(document, operation) {
  const alternatives = operation.security ?? document.security ?? [];
  const names = new Set(alternatives.flatMap((alternative) => Object.keys(alternative)));
  const schemes = [...names].flatMap((name) => {
    const given = document.components?.securitySchemes?.[name];
    if (!given) return [];
    // An API key's `name` is that of its parameter; the scheme's own is its key in the document.
    const scheme = resolve(document, given);
    return [{ ...scheme, name, parameter: scheme.name }];
  });
  return { schemes, optional: alternatives.length === 0 || alternatives.some((alternative) => Object.keys(alternative).length === 0) };
}
