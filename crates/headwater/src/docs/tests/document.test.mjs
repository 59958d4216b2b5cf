// Interpretation of OpenAPI documents by the player.

import assert from "node:assert/strict";
import { test } from "node:test";

import { baseOf, streamingOperations } from "../assets/document.mjs";
import { choices, limits, resolve, skeleton, typeOf } from "../assets/schema.mjs";

const stream = (itemSchema = {}) => ({ 200: { description: "", content: { "text/event-stream": { itemSchema }, "application/x-ndjson": { itemSchema } } } });
const only = (document) => {
  const operations = streamingOperations(document);
  assert.equal(operations.length, 1);
  return operations[0];
};

test("an operation streams if a success of it has items or a streaming media type", () => {
  const paths = {
    "/items": { get: { responses: stream() } },
    "/sequence": { get: { responses: { "2XX": { content: { "application/json": { itemSchema: {} } } } } } },
    "/typed": { post: { responses: { 200: { content: { "application/jsonl": { schema: {} } } } } } },
    "/plain": { get: { responses: { 200: { content: { "application/json": { schema: {} } } } } } },
    "/fails": { get: { responses: { 500: { content: { "text/event-stream": {} } } } } },
    "/shared": { get: { responses: { 200: { $ref: "#/components/responses/Stream" } } } },
    "/query": { query: { responses: stream() }, additionalOperations: { FOLLOW: { responses: stream() } } },
  };
  const components = { responses: { Stream: stream()[200] } };
  const found = streamingOperations({ paths, components }).map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(found, ["GET /items", "GET /sequence", "POST /typed", "GET /shared", "QUERY /query", "FOLLOW /query"]);
});

test("the formats stand in the player's order, each once, and unknown ones at the end", () => {
  const types = ["text/plain; charset=utf-8", "application/json", "application/json-seq", "application/x-ndjson", "application/jsonl", "text/event-stream", "text/csv"];
  const content = Object.fromEntries(types.map((type) => [type, { itemSchema: {} }]));
  const operation = only({ paths: { "/a": { get: { responses: { 200: { content } } } } } });
  assert.deepEqual(
    operation.formats.map(({ name, type }) => `${name} ${type}`),
    ["sse text/event-stream", "ndjson application/x-ndjson", "json-seq application/json-seq", "json application/json", "text text/plain", "text/csv text/csv"],
  );
});

test("parameters come from the path and the operation, which wins, without those that are no parameters", () => {
  const document = {
    paths: {
      "/a/{id}": {
        parameters: [
          { name: "id", in: "path", schema: { type: "string" } },
          { name: "n", in: "query", schema: { type: "string" } },
        ],
        get: {
          operationId: "a",
          parameters: [
            { name: "Accept", in: "header" },
            { name: "format", in: "query", schema: { enum: ["sse", "json"] } },
            { $ref: "#/components/parameters/n" },
            { name: "s", in: "cookie", schema: { enum: ["x"] } },
          ],
          responses: stream(),
        },
      },
    },
    components: { parameters: { n: { name: "n", in: "query", description: "How many.", schema: { type: ["integer", "null"], default: 3 } } } },
  };
  const operation = only(document);
  assert.deepEqual(
    operation.parameters.map(({ in: place, name, required, type, fallback }) => [place, name, required, type, fallback]),
    [
      ["path", "id", true, "string", undefined],
      ["query", "n", false, "integer", 3],
      ["cookie", "s", false, "string", undefined],
    ],
  );
});

test("the events of a union are known by name, but those that end it", () => {
  const branch = (event) => ({ type: "object", properties: { event } });
  const union = { oneOf: [branch({ const: "trade" }), branch({ enum: ["quote", "end"] }), { $ref: "#/components/schemas/End" }, branch({ const: "headwater:error" })] };
  const document = { paths: { "/a": { get: { responses: stream(union) } } }, components: { schemas: { End: branch({ const: "headwater:end" }) } } };
  assert.deepEqual(only(document).events, ["trade", "quote", "end"]);
});

test("the security of an operation wins over that of the document, and may be none", () => {
  const document = {
    security: [{ token: [] }],
    paths: { "/a": { get: { responses: stream() } }, "/b": { get: { security: [], responses: stream() } }, "/c": { get: { security: [{ key: [] }, {}], responses: stream() } } },
    components: { securitySchemes: { token: { type: "http", scheme: "bearer" }, key: { type: "apiKey", in: "query", name: "k" } } },
  };
  const found = streamingOperations(document).map(({ security }) => [security.schemes.map(({ name, parameter }) => [name, parameter]), security.optional]);
  assert.deepEqual(found, [
    [[["token", undefined]], false],
    [[], true],
    [[["key", "k"]], true],
  ]);
});

test("paths start at the document's own server, or in its folder", () => {
  const base = (servers, url = "http://127.0.0.1:8000/admin/openapi.json") => baseOf({ servers }, new URL(url)).href;
  assert.equal(base(undefined), "http://127.0.0.1:8000/admin/");
  assert.equal(base([{ url: "/" }]), "http://127.0.0.1:8000/");
  assert.equal(base([{ url: "." }]), "http://127.0.0.1:8000/admin/");
  assert.equal(base([{ url: "/v{n}", variables: { n: { default: "2" } } }]), "http://127.0.0.1:8000/v2/");
  assert.equal(base([{ url: "https://elsewhere.example/" }]), "http://127.0.0.1:8000/admin/");
  assert.equal(base([{ url: "http://[" }]), "http://127.0.0.1:8000/admin/");
});

test("a reference leads to what it names, and what stands beside it is nearer", () => {
  const document = { components: { schemas: { "a/b": { type: "string", description: "far" }, loop: { $ref: "#/components/schemas/loop" } } } };
  assert.deepEqual(resolve(document, { $ref: "#/components/schemas/a~1b", description: "near" }), { type: "string", description: "near" });
  assert.deepEqual(resolve(document, { $ref: "#/components/schemas/none", title: "t" }), { title: "t" });
  assert.deepEqual(resolve(document, { $ref: "other.json#/x" }), {});
  assert.ok(resolve(document, { $ref: "#/components/schemas/loop" }));
});

test("an enumeration is known in every way that it is written", () => {
  const values = (schema) => choices({}, schema)?.map(({ value, description }) => [value, description]) ?? null;
  assert.deepEqual(values({ enum: ["a", "b", null] }), [["a", ""], ["b", ""]]);
  assert.deepEqual(values({ oneOf: [{ const: "a", description: "first" }, { enum: ["b"] }] }), [["a", "first"], ["b", ""]]);
  assert.deepEqual(values({ anyOf: [{ enum: ["a"] }, { type: "null" }] }), [["a", ""]]);
  assert.equal(values({ oneOf: [{ const: "a" }, { type: "string" }] }), null);
  assert.equal(values({ type: "string" }), null);
});

test("types and limits are said in words", () => {
  assert.equal(typeOf({}, { anyOf: [{ type: "integer" }, { type: "null" }] }), "integer");
  assert.equal(typeOf({}, {}), "any");
  assert.equal(limits({}, { minimum: 1, maximum: 9 }), "1 to 9");
  assert.equal(limits({}, { exclusiveMinimum: 0, maximum: 9 }), "more than 0, at most 9");
  assert.equal(limits({}, { minLength: 1, maxLength: 8, pattern: "^a" }), "1 to 8 characters, matches ^a");
  assert.equal(limits({}, { minimum: 0, maximum: 18446744073709551615 }), "at least 0");
  assert.equal(limits({}, {}), "");
});

test("a skeleton has an author's example, or something of the right shape", () => {
  const document = {
    components: {
      schemas: {
        Tree: { type: "object", properties: { name: { type: "string" }, children: { type: "array", items: { $ref: "#/components/schemas/Tree" } } }, required: ["name", "children"] },
      },
    },
  };
  assert.deepEqual(skeleton({}, { type: "object", examples: [{ a: 1 }] }), { a: 1 });
  assert.deepEqual(
    skeleton({}, { type: "object", properties: { at: { type: "string", format: "date" }, n: { type: "integer", minimum: 3 }, on: { type: "boolean" }, kind: { enum: ["x", "y"] }, maybe: { type: ["string", "null"], default: null } } }),
    { at: "2026-01-01", n: 3, on: false, kind: "x", maybe: null },
  );
  assert.equal(skeleton({}, { oneOf: [{ type: "string", maxLength: 3 }, { type: "null" }] }), "str");
  assert.deepEqual(skeleton({}, { allOf: [{ properties: { a: { const: 1 } } }, { properties: { b: { const: 2 } } }] }), { a: 1, b: 2 });
  // A recursive schema terminates.
  assert.equal(skeleton(document, { $ref: "#/components/schemas/Tree" }).name, "string");
});
