// Abbreviated ids.

import assert from "node:assert/strict";
import { test } from "node:test";

import { shortId } from "../assets/ids.mjs";

test("an offset is its number, whatever names its stream", () => {
  assert.equal(shortId("0000000000000042_k7m2q9xw3d"), "42");
  assert.equal(shortId("0000000000000000_k7m2q9xw3d"), "0");
  assert.equal(shortId("0000000012345678"), "12345678");
  assert.notEqual(shortId("0000000000000005_k7m2q9xw3d"), shortId("0000000000000006_k7m2q9xw3d"));
});

test("a short id is shown as it is", () => {
  for (const id of ["7", "007", "a_b", "chat-17", "12345678901"]) assert.equal(shortId(id), id);
});

test("of a long one the beginning and the end are shown", () => {
  assert.equal(shortId("018f3a5e-7c1b-7d2e-9a40-1234567890ab"), "018…67890ab");
  assert.equal(shortId("evt_2026_11_28_0000017").length, 11);
  assert.notEqual(shortId("evt_2026_11_28_0000017"), shortId("evt_2026_11_28_0000018"));
});
