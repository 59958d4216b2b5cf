// The same request as runnable code in several languages.

import { allHeaders } from "./request.mjs";

export const LANGUAGES = [
  { name: "curl", make: curl },
  { name: "Python", make: python },
  { name: "JavaScript", make: javascript },
  { name: "Rust", make: rust },
];

/** Returns a text as a word of a POSIX shell. */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Returns a string literal. JSON strings are valid literals in JavaScript and Python. */
const literal = (text) => JSON.stringify(text);

/** Removes the white space between the tokens of a JSON text, and keeps the notation of its numbers. */
export function compactJson(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  return text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_, string) => string ?? "");
}

const cookieHeader = (request) => request.cookies.map(([name, value]) => `${name}=${value}`).join("; ");

export function curl(request) {
  const words = ["curl", "-N"];
  const lines = [];
  const bodyMeansPost = request.body !== null && request.method === "POST";
  if (request.method === "HEAD") words.push("--head");
  else if (request.method !== "GET" && !bodyMeansPost) words.push("-X", shellWord(request.method));
  else if (request.method === "GET" && request.body !== null) words.push("-X", "GET");
  // Without it, curl interprets brackets and braces in a URL as patterns.
  if (/[[\]{}]/.test(request.url)) words.push("-g");
  lines.push([...words, shellWord(request.url)].join(" "));
  for (const [name, value] of allHeaders(request)) lines.push(`-H ${shellWord(value === "" ? `${name};` : `${name}: ${value}`)}`);
  if (request.cookies.length) lines.push(`-b ${shellWord(cookieHeader(request))}`);
  if (request.body !== null) lines.push(`--data-raw ${shellWord(compactJson(request.body))}`);
  return lines.join(" \\\n  ");
}

export function python(request, format) {
  const sse = format === "sse";
  const headers = allHeaders(request);
  if (request.cookies.length) headers.push(["Cookie", cookieHeader(request)]);
  const call = [`    ${literal(request.method)},`, `    ${literal(request.url)},`];
  call.push("    headers={", ...headers.map(([name, value]) => `        ${literal(name)}: ${literal(value)},`), "    },");
  if (request.body !== null) call.push(`    ${sse ? "content" : "data"}=${literal(compactJson(request.body))}.encode(),`);
  if (sse) {
    return [
      "# pip install httpx-sse",
      "import json",
      "",
      "import httpx",
      "from httpx_sse import connect_sse",
      "",
      "with httpx.Client(timeout=60) as client, connect_sse(",
      "    client,",
      ...call,
      ") as source:",
      "    source.response.raise_for_status()",
      "    for event in source.iter_sse():",
      '        if event.event == "headwater:end":',
      "            break",
      "        print(event.event, event.id, json.loads(event.data))",
    ].join("\n");
  }
  const loops = {
    ndjson: ["        if line:", "            print(json.loads(line))"],
    "json-seq": ['        if line := line.strip(b"\\x1e"):', "            print(json.loads(line))"],
    // Headwater writes one element per line, after a bracket or a comma.
    json: ["        # One element a line, behind the array's bracket or a comma.", '        if line[1:] not in (b"", b"]"):', "            print(json.loads(line[1:]))"],
  };
  const loop = loops[format] ?? ["        print(line.decode())"];
  return [
    "# pip install requests",
    ...(loops[format] ? ["import json", ""] : []),
    "import requests",
    "",
    "with requests.request(",
    ...call,
    "    stream=True,",
    "    timeout=60,",
    ") as response:",
    "    response.raise_for_status()",
    "    for line in response.iter_lines():",
    ...loop,
  ].join("\n");
}

export function javascript(request, format, { events = [] } = {}) {
  const plain = request.method === "GET" && request.headers.length === 0 && request.body === null;
  const cookies = request.cookies.map(([name, value]) => `document.cookie = ${literal(`${name}=${value}; path=/`)};`);
  const parts = cookies.length ? [...cookies, ""] : [];
  return [...parts, ...(plain && format === "sse" ? eventSource(request, events) : fetched(request, format))].join("\n");
}

function eventSource(request, events) {
  const named = events.map((name) => `source.addEventListener(${literal(name)}, show);`);
  return [
    `const source = new EventSource(${literal(request.url)});`,
    "const show = (event) => console.log(event.type, event.lastEventId, JSON.parse(event.data));",
    "source.onmessage = show;",
    ...named,
    'source.addEventListener("headwater:end", () => source.close());',
    'source.addEventListener("headwater:error", (event) => console.error(JSON.parse(event.data)));',
  ];
}

function fetched(request, format) {
  const options = [];
  if (request.method !== "GET") options.push(`  method: ${literal(request.method)},`);
  options.push("  headers: {", ...allHeaders(request).map(([name, value]) => `    ${literal(name)}: ${literal(value)},`), "  },");
  if (request.body !== null) options.push(`  body: ${literal(compactJson(request.body))},`);
  const items = {
    sse: [
      '    const lines = item.split("\\n");',
      '    const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));',
      '    if (data.length > 0 && !lines.includes("event: headwater:end")) console.log(JSON.parse(data.join("\\n")));',
    ],
    ndjson: ["    if (item) console.log(JSON.parse(item));"],
    "json-seq": ['    if (item) console.log(JSON.parse(item.replace("\\x1e", "")));'],
    json: [
      "    // One element a line, behind the array's bracket or a comma.",
      '    if (item.slice(1) && item !== "[]") console.log(JSON.parse(item.slice(1)));',
    ],
  };
  return [
    `const response = await fetch(${literal(request.url)}, {`,
    ...options,
    "});",
    "if (!response.ok) throw new Error(await response.text());",
    "const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();",
    'for (let rest = ""; ; ) {',
    "  const { done, value } = await reader.read();",
    "  if (done) break;",
    `  const items = (rest + value).split(${format === "sse" ? '"\\n\\n"' : '"\\n"'});`,
    "  rest = items.pop();",
    "  for (const item of items) {",
    ...(items[format] ?? ["    console.log(item);"]),
    "  }",
    "}",
  ];
}

export function rust(request, format) {
  const verbs = { GET: "get", POST: "post" };
  const url = rustString(request.url);
  const verb = verbs[request.method];
  const start = verb
    ? `headwater_client::${verb}(${url})`
    : `headwater_client::request(headwater_client::Method::from_bytes(b${rustString(request.method)}).expect("a method"), ${url})`;
  const headers = [...request.headers];
  if (request.cookies.length) headers.push(["Cookie", cookieHeader(request)]);
  const item = format === "text" ? "String" : "serde_json::Value";
  return [
    "// [dependencies] headwater-client, serde_json, tokio with the features macros and rt-multi-thread",
    "#[tokio::main]",
    "async fn main() -> Result<(), headwater_client::Error> {",
    `    let mut items = ${start}`,
    `        .accept(${rustString(request.accept)})`,
    ...headers.map(([name, value]) => `        .header(${rustString(name.toLowerCase())}, ${rustString(value)})`),
    ...(request.body === null ? [] : [`        .body(${rustRaw(compactJson(request.body))})`]),
    `        .stream::<${item}>()`,
    "        .await?;",
    "    while let Some(item) = items.next().await {",
    '        println!("{}", item?);',
    "    }",
    "    Ok(())",
    "}",
  ].join("\n");
}

function rustString(text) {
  const escaped = text.replace(/[\\"]/g, "\\$&").replace(/[\u0000-\u001f\u007f]/g, (control) => `\\u{${control.codePointAt(0).toString(16)}}`);
  return `"${escaped}"`;
}

/** Returns a Rust raw string with the required number of hashes. */
function rustRaw(text) {
  let hashes = "";
  while (text.includes(`"${hashes}`)) hashes += "#";
  return `r${hashes}"${text}"${hashes}`;
}
