// The player's parsers: each stream is read whole, byte by byte, and split in two at every byte.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decoderFor, formatOf } from "../assets/formats.mjs";

const bytesOf = (text) => new TextEncoder().encode(text);

function read(format, chunks, options) {
  const decoder = decoderFor(format, options);
  const items = [];
  for (const chunk of chunks) items.push(...decoder.push(chunk));
  items.push(...decoder.end());
  return { items, fault: decoder.fault, decoder };
}

/** Reads `stream` in every split in two and byte by byte, and expects the same result each time. */
function check(format, stream, expected, fault = null) {
  const bytes = typeof stream === "string" ? bytesOf(stream) : stream;
  const chunkings = [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))];
  for (let cut = 0; cut <= bytes.length; cut += 1) chunkings.push([bytes.subarray(0, cut), bytes.subarray(cut)]);
  for (const chunks of chunkings) {
    const seen = read(format, chunks);
    const sizes = chunks.map((chunk) => chunk.length).join("+");
    assert.equal(seen.fault, fault, `cut ${sizes}`);
    assert.deepEqual(seen.items, expected, `cut ${sizes}`);
  }
}

const event = (data, name = "", id = "") => ({ data, event: name, id });
const datas = (...values) => values.map((data) => ({ data }));

test("an SSE line ends at LF, CR or CRLF, however they are mixed and cut", () => {
  check("sse", "data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\r\n\ndata: e\n\r\n", ["a", "b", "c", "d", "e"].map((data) => event(data)));
});

test("a BOM is dropped at the start of an SSE stream, and only there", () => {
  check("sse", "\ufeffdata: a\n\n\ufeffdata: b\n\ndata: c\n\n", [event("a"), event("c")]);
});

test("the data of many lines is joined by LF, and one space behind a colon is dropped", () => {
  check("sse", "data: one\ndata:two\ndata:  three\ndata\n\n", [event("one\ntwo\n three\n")]);
});

test("an event with empty data is one, a block without data is none", () => {
  check("sse", "data:\n\nevent: x\n\nid: 7\n\ndata: y\n\n", [event(""), event("y", "", "7")]);
});

test("an event's name is its own, its id stays for those that follow", () => {
  check("sse", "event: add\nid: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [
    event("a", "add", "1"),
    event("b", "", "1"),
    event("c", "", ""),
  ]);
});

test("an id with a NUL is ignored, and so are unknown fields and comments", () => {
  check("sse", ": hello\nid: 1\nid: a\0b\nfoo: bar\nDATA: x\ndata: y\n\n", [event("y", "", "1")]);
});

test("an event without its blank line is discarded", () => {
  check("sse", "data: a\n\ndata: b\n", [event("a")]);
  check("sse", "data: a\n\ndata: b", [event("a")]);
});

test("text of many bytes a character survives any cut", () => {
  check("sse", "data: søen 🌊 水\n\n", [event("søen 🌊 水")]);
  check("ndjson", '"søen 🌊 水"\n', datas('"søen 🌊 水"'));
  check("json", '["søen 🌊 水"]', datas('"søen 🌊 水"'));
  check("json-seq", '\x1e"søen 🌊 水"\n', datas('"søen 🌊 水"'));
  check("text", "søen 🌊 水\n", datas("søen 🌊 水"));
});

test("what is not UTF-8 is replaced", () => {
  check("sse", Uint8Array.of(...bytesOf("data: "), 0xff, 0x0a, 0x0a), [event("\ufffd")]);
});

test("retry, comments and the last id are known after they were read", () => {
  const stream = ": up\n\nretry: 1500\nretry: 2x\n\n: up\nid: 9\ndata: a\n\nid: 10\n";
  const { decoder } = read("sse", [bytesOf(stream)]);
  assert.equal(decoder.retry, 1500);
  assert.equal(decoder.comments, 2);
  // The last block is incomplete.
  assert.equal(decoder.lastEventId, "9");
});

test("a connection that follows another starts with the id of that one", () => {
  const { items, decoder } = read("sse", [bytesOf("retry: 5\n\ndata: a\n\n")], { lastEventId: "41" });
  assert.deepEqual(items, [event("a", "", "41")]);
  assert.equal(decoder.lastEventId, "41");
});

test("an NDJSON item is a line, CRLF or LF, and blank lines are none", () => {
  check("ndjson", '{"a":1}\n\n  \n[2]\r\n"three"\n', datas('{"a":1}', "[2]", '"three"'));
});

test("the last NDJSON line may lack its end if it is whole", () => {
  check("ndjson", '1\n{"a":2}', datas("1", '{"a":2}'));
  check("ndjson", '1\n{"a":', datas("1"), "the body ends inside an item");
});

test("an array's elements are given one by one, with any space between them", () => {
  const elements = ['{"a":[1,{"b":"]}\\""}]}', '"x,]y"', "-1.5e3", "true", "[ ]", '"\\\\"', "null"];
  check("json", `[${elements.join(",")}]`, datas(...elements));
  check("json", ` \n[\n${elements.join(" ,\r\n\t")}\n]\n `, datas(...elements));
});

test("an array of no elements has none", () => {
  check("json", "[]\n", []);
  check("json", " [ ] ", []);
});

test("an array that isn't closed is cut", () => {
  check("json", '[1,{"a":2}', datas("1", '{"a":2}'), "the body ends before its array does");
  check("json", "[1,2", datas("1"), "the body ends before its array does");
  check("json", "[", [], "the body ends before its array does");
});

test("what can't stand in an array is a fault, after the items before it", () => {
  check("json", "[1 2]", datas("1"), 'expected "," or "]", found "2"');
  check("json", "[,1]", [], 'expected a value or "]", found ","');
  check("json", "[1,]", datas("1"), 'expected a value, found "]"');
  check("json", "[1]x", datas("1"), 'expected nothing behind "]", found "x"');
});

test("a JSON body that is no array is one item", () => {
  check("json", '{"a": [1, 2]}', datas('{"a": [1, 2]}'));
});

test("a record of a sequence is given at its line feed", () => {
  const decoder = decoderFor("json-seq");
  assert.deepEqual(decoder.push(bytesOf('\x1e{"a":1}')), []);
  assert.deepEqual(decoder.push(bytesOf("\n")), datas('{"a":1}'));
  check("json-seq", '\x1e{"a":1}\n\x1e2\n\x1e"x"\n', datas('{"a":1}', "2", '"x"'));
});

test("a record of a sequence may have many lines, and lack the last line feed", () => {
  check("json-seq", '\x1e{\n "a": "x}\\"",\n "b": [1,\n2]\n}\n\x1e[\n]', datas('{\n "a": "x}\\"",\n "b": [1,\n2]\n}', "[\n]"));
});

test("a cut record is said to be broken, and the next one is read", () => {
  const broken = "this record is cut";
  check("json-seq", '\x1e{"a":\x1e12\x1e\x1e{"b":2}\n\x1etru', [
    { data: '{"a":', broken },
    { data: "12", broken },
    { data: '{"b":2}' },
    { data: "tru", broken },
  ]);
});

test("what stands between records is a fault", () => {
  check("json-seq", "\x1e1\nx", datas("1"), 'expected a record separator, found "x"');
});

test("a text item is a line; a CR alone ends none", () => {
  check("text", "a\r\n\nb\rc\nd", datas("a", "", "b\rc", "d"));
});

test("a long line that comes in small pieces is read in linear time", () => {
  const decoder = decoderFor("ndjson");
  const piece = bytesOf("x".repeat(64));
  const started = performance.now();
  for (let count = 0; count < 100_000; count += 1) decoder.push(piece);
  const [item] = decoder.push(bytesOf("\n"));
  assert.equal(item.data.length, 6_400_000);
  assert(performance.now() - started < 5_000);
});

test("an item that never ends is refused, not kept", () => {
  const piece = bytesOf("x".repeat(1024 * 1024));
  for (const [format, start] of [["sse", "data: "], ["ndjson", ""], ["json", '["'], ["json-seq", '\x1e"'], ["text", ""]]) {
    const chunks = [bytesOf(start), ...Array.from({ length: 40 }, () => piece)];
    assert.match(read(format, chunks).fault, /larger than this page can hold/, format);
  }
});

test("a content type names its format, whatever its case and parameters", () => {
  for (const [type, format] of [
    ["text/event-stream;charset=utf-8", "sse"],
    ["Application/X-NDJSON", "ndjson"],
    ["application/jsonl", "ndjson"],
    ["application/json-seq", "json-seq"],
    ["application/json; charset=utf-8", "json"],
    ["application/vnd.api+json", "json"],
    ["text/plain", "text"],
    [null, "text"],
  ]) {
    assert.equal(formatOf(type), format, String(type));
  }
});
