// JSON as shown in the player.

import assert from "node:assert/strict";
import { test } from "node:test";

import { lengthOf, parseTree, tokens } from "../assets/json-text.mjs";

/** Converts a tree back to JSON. */
function text(node) {
  if (!node.entries) return node.text;
  const members = node.entries.map(([key, child]) => (key === null ? "" : `${key}:`) + text(child));
  return node.kind === "array" ? `[${members.join(",")}]` : `{${members.join(",")}}`;
}

test("a tree has every token as it was written", () => {
  for (const json of ["1", "-1.50e+10", "12345678901234567890", '"a\\"b{}"', "null", "true", "[]", "{}", '{"a":[1,{"b":[]},"x"],"a":2,"":{"c":null}}', '[[[",",":"]]]', '"ü🌊\\u0041"']) {
    assert.equal(text(parseTree(json)), json);
    assert.equal(text(parseTree(` ${json} \n`)), json);
  }
});

test("what isn't JSON has no tree", () => {
  for (const json of ["", "nul", "{a:1}", "[1,]", '{"a":1', "1 2", "'a'"]) assert.equal(parseTree(json), null, json);
});

test("what is too deep for a tree is shown as text", () => {
  assert.equal(parseTree("[".repeat(200_000) + "]".repeat(200_000)), null);
});

test("keys are told from strings, and cut text has tokens too", () => {
  assert.deepEqual(
    tokens('{"a": "b", "c":1, "d').map(({ kind, text: token }) => `${kind} ${token}`),
    ["mark {", "key \"a\"", "mark :", 'string "b"', "mark ,", 'key "c"', "mark :", "number 1", "mark ,", 'mark "', "mark d"],
  );
});

test("a node's length is that of its line", () => {
  for (const json of ["1", "[1, 2]", '{"a": [true, "x"]}']) {
    const spare = lengthOf(parseTree(json), 1000) - json.length;
    assert.ok(spare >= 0 && spare <= 6, json);
  }
});
