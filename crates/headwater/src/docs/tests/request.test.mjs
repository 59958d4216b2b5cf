// Conversion of form values to a request, and of a request to code.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { buildRequest, missingInPath } from "../assets/request.mjs";
import { compactJson, curl, javascript, python, rust, shellWord } from "../assets/snippets.mjs";

const parameter = (place, name, more = {}) => ({ in: place, name, type: "string", style: place === "query" || place === "cookie" ? "form" : "simple", explode: place === "query" || place === "cookie", ...more });

function build({ parameters = [], values = {}, schemes = [], credentials = {}, path = "/a", method = "GET", body = null, accept = "text/event-stream" }) {
  const operation = { method, path, parameters, security: { schemes } };
  return buildRequest(operation, new URL("http://127.0.0.1:8000/v1/"), {
    values: new Map(Object.entries(values)),
    body,
    contentType: "application/json",
    accept,
    credentials: new Map(Object.entries(credentials)),
  });
}

test("a path's parameters are escaped, and one without a value is missing", () => {
  const parameters = [parameter("path", "name"), parameter("path", "list", { type: "array" })];
  const request = build({ path: "/{name}/x/{list}", parameters, values: { "path name": "a/b ü?", "path list": "1,2" } });
  assert.equal(request.url, "http://127.0.0.1:8000/v1/a%2Fb%20%C3%BC%3F/x/1,2");
  assert.deepEqual(missingInPath({ parameters }, new Map([["path name", "a"]])).map(({ name }) => name), ["list"]);
});

test("query parameters are written in their style, and empty ones left out", () => {
  const query = (more, text) => build({ parameters: [parameter("query", "q", more), parameter("query", "empty")], values: { "query q": text, "query empty": "" } }).url.split("?")[1];
  assert.equal(query({}, "a b&c"), "q=a%20b%26c");
  assert.equal(query({ type: "array" }, "a, b"), "q=a&q=b");
  assert.equal(query({ type: "array" }, '["a, b", 2]'), "q=a%2C%20b&q=2");
  assert.equal(query({ type: "array", explode: false }, "a,b"), "q=a,b");
  assert.equal(query({ type: "array", explode: false, style: "pipeDelimited" }, "a,b"), "q=a%7Cb");
  assert.equal(query({ type: "object", style: "deepObject" }, '{"a": 1, "b c": "d"}'), "q%5Ba%5D=1&q%5Bb%20c%5D=d");
  assert.equal(query({ type: "object" }, '{"a": 1, "b": "c d"}'), "a=1&b=c%20d");
  assert.equal(query({ type: "object" }, "not json"), "q=not%20json");
});

test("headers, cookies and credentials go where they belong", () => {
  const { headers, cookies, url } = build({
    parameters: [parameter("header", "X-A"), parameter("cookie", "c")],
    values: { "header X-A": "1", "cookie c": "x; y" },
    schemes: [
      { name: "one", type: "http", scheme: "bearer" },
      { name: "two", type: "http", scheme: "Basic" },
      { name: "three", type: "apiKey", in: "header", parameter: "X-Key" },
      { name: "four", type: "apiKey", in: "query", parameter: "key" },
      { name: "five", type: "apiKey", in: "cookie", parameter: "sid" },
      { name: "six", type: "oauth2" },
    ],
    credentials: { one: "t", two: { user: "ü", password: "p:q" }, three: "k", four: "k&", five: "z", six: "" },
  });
  assert.deepEqual(headers, [["X-A", "1"], ["Authorization", "Bearer t"], ["Authorization", `Basic ${Buffer.from("ü:p:q").toString("base64")}`], ["X-Key", "k"]]);
  assert.deepEqual(cookies, [["c", "x%3B%20y"], ["sid", "z"]]);
  assert.equal(url, "http://127.0.0.1:8000/v1/a?key=k%26");
});

const nasty = `it's "quoted" $HOME \`id\` \\ ü {x} !`;
const withBody = () => build({ method: "POST", body: JSON.stringify({ prompt: nasty, n: 1 }, null, 2), parameters: [parameter("header", "X-Note")], values: { "header X-Note": "it's $5" } });

test("a shell gives each quoted word back as it was", () => {
  for (const text of [nasty, "", "plain", "a b", "'", "\n", "*", "~", "-x", "a;b", "#x"]) {
    assert.equal(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" }), text);
  }
});

test("a shell reads the curl command as the words that are meant", () => {
  const words = execFileSync("sh", ["-c", curl(withBody()).replace(/^curl/, "printf '%s\\n'")], { encoding: "utf8" }).trimEnd().split("\n");
  assert.deepEqual(words, ["-N", "http://127.0.0.1:8000/v1/a", "-H", "Accept: text/event-stream", "-H", "X-Note: it's $5", "-H", "Content-Type: application/json", "--data-raw", JSON.stringify({ prompt: nasty, n: 1 })]);
});

test("curl names a method only where it would choose another one", () => {
  const first = (more) => curl(build(more)).split("\n")[0];
  assert.equal(first({}), "curl -N http://127.0.0.1:8000/v1/a \\");
  assert.equal(first({ method: "POST", body: "{}" }), "curl -N http://127.0.0.1:8000/v1/a \\");
  assert.equal(first({ method: "POST" }), "curl -N -X POST http://127.0.0.1:8000/v1/a \\");
  assert.equal(first({ method: "DELETE" }), "curl -N -X DELETE http://127.0.0.1:8000/v1/a \\");
});

test("the Python is Python, in every format", () => {
  for (const format of ["sse", "ndjson", "json-seq", "json", "text"]) {
    for (const request of [build({ accept: "x/y" }), withBody()]) {
      execFileSync("python3", ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], { input: python(request, format) });
    }
  }
  assert.match(python(build({}), "sse"), /httpx_sse/);
  assert.match(python(build({}), "ndjson"), /requests/);
});

test("the JavaScript is an EventSource where that can ask for it, else fetch", () => {
  const plain = javascript(build({}), "sse", { events: ["trade"] });
  assert.match(plain, /^const source = new EventSource\("http:\/\/127/);
  assert.match(plain, /addEventListener\("trade", show\)/);
  for (const [request, format] of [[build({}), "ndjson"], [withBody(), "sse"], [build({ parameters: [parameter("header", "X")], values: { "header X": "1" } }), "sse"]]) {
    assert.match(javascript(request, format), /await fetch\(/);
  }
  const AsyncFunction = (async () => {}).constructor;
  for (const format of ["sse", "ndjson", "json-seq", "json", "text"]) {
    assert.ok(new AsyncFunction(javascript(withBody(), format)));
  }
});

test("the Rust has its strings escaped, and a body as a raw string", () => {
  const text = rust(withBody(), "sse");
  assert.match(text, /headwater_client::post\("http:\/\/127\.0\.0\.1:8000\/v1\/a"\)/);
  assert.match(text, /\.header\("x-note", "it's \$5"\)/);
  assert.match(text, /\.body\(r#"\{"prompt":"it's/);
  assert.match(rust(build({ method: "PUT", body: '{"a":"\\"#"}' }), "text"), /request\(headwater_client::Method::from_bytes\(b"PUT"\)[\s\S]*r##"\{"a":"\\"#"\}"##[\s\S]*stream::<String>/);
});

test("a body loses only the space between its tokens", () => {
  assert.equal(compactJson('{ "a b" : [ 1.50 , 12345678901234567890,\n"c\\" d" ] }'), '{"a b":[1.50,12345678901234567890,"c\\" d"]}');
  assert.equal(compactJson("{ not json"), "{ not json");
});
