// A play from start to end, with simulated responses.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Session } from "../assets/session.mjs";

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

const request = { method: "GET", url: "http://127.0.0.1:1/a", accept: "text/event-stream", headers: [["X-A", "1"]], cookies: [], body: null };

/** Creates a body of these texts that then ends, is cut, or stays open until it is aborted. */
function body(texts, end, signal) {
  return new ReadableStream({
    start(controller) {
      for (const text of texts) controller.enqueue(new TextEncoder().encode(text));
      if (end === "close") controller.close();
      signal?.addEventListener("abort", () => controller.error(signal.reason));
    },
    pull(controller) {
      if (end === "cut") controller.error(new TypeError("network error"));
    },
  });
}

/** Plays with `answers`, one for each request: `{ status, type, texts, end }` or an Error. */
function play(answers, more = {}) {
  const log = [];
  const sent = [];
  globalThis.fetch = async (url, options) => {
    sent.push(options.headers);
    const answer = answers[sent.length - 1];
    if (answer instanceof Error) throw answer;
    const { status = 200, type = "text/event-stream", texts = [], end = "close" } = answer;
    return new Response(status === 204 ? null : body(texts, end, options.signal), { status, headers: { "content-type": type } });
  };
  const waiting = [];
  const session = new Session({ ...request, ...more }, {
    state(state, detail) {
      log.push(state);
      session_.detail = detail;
      for (const waiter of waiting.splice(0)) waiter();
    },
    items: (items) => log.push(...items.map((item) => `${item.kind ?? "item"} ${item.data}`)),
    seam: () => log.push("seam"),
    resumed: () => log.push("resumed"),
  });
  const session_ = { session, log, sent, detail: null };
  session_.until = async (state) => {
    while (session.state !== state) await new Promise((resolve) => waiting.push(resolve));
  };
  session.start();
  return session_;
}

const END = "event: headwater:end\nid: headwater:end\ndata:\n\n";

test("a stream with its end event is ended, and the event is no item", async () => {
  const { log, until, sent, session } = play([{ texts: ["id: 1\ndata: a\n\n", END] }]);
  await until("ended");
  assert.deepEqual(log, ["connecting", "open", "item a", "end ", "ended"]);
  assert.equal(sent[0].get("accept"), "text/event-stream");
  assert.equal(sent[0].get("x-a"), "1");
  assert.equal(sent[0].get("last-event-id"), null);
  assert.equal(session.canResume, false);
});

test("a body that ends without an end event says so", async () => {
  const run = play([{ texts: ["data: a\n\n"] }]);
  await run.until("ended");
  assert.equal(run.detail.unmarked, true);
});

test("a cut body is cut, and can be resumed where ids are", async () => {
  const run = play([{ texts: ["id: 1\ndata: a\n\nid: 2\ndata: b\n\ndata: half"], end: "cut" }, { texts: ["id: 3\ndata: c\n\n", END] }]);
  await run.until("cut");
  assert.deepEqual(run.log, ["connecting", "open", "item a", "item b", "cut"]);
  assert.equal(run.session.canResume, true);
  run.session.cutAndResume();
  await run.until("ended");
  assert.equal(run.sent[1].get("last-event-id"), "2");
  assert.deepEqual(run.log.slice(5), ["seam", "resuming", "resumed", "open", "item c", "end ", "ended"]);
});

test("cutting an open stream resumes it, and nothing of the old connection comes after", async () => {
  const run = play([{ texts: ["id: 7\ndata: a\n\n"], end: "open" }, { texts: ["id: 8\ndata: b\n\n", END] }]);
  while (!run.log.includes("item a")) await new Promise((resolve) => setTimeout(resolve, 1));
  run.session.cutAndResume();
  await run.until("ended");
  assert.deepEqual(run.log, ["connecting", "open", "item a", "seam", "resuming", "resumed", "open", "item b", "end ", "ended"]);
  assert.equal(run.sent[1].get("last-event-id"), "7");
});

test("a position is resumed from and is no item, and a stream that starts over says so", async () => {
  const position = 'event: headwater:position\nid: 7_a\ndata: {"offset":"7_a"}\n\n';
  const reset = 'event: headwater:reset\nid: 0_b\ndata: {"detail":"it was made again"}\n\n';
  const run = play([{ texts: [position], end: "cut" }, { texts: [reset, "id: 1_b\ndata: a\n\n", END] }]);
  await run.until("cut");
  assert.deepEqual(run.log, ["connecting", "open", "cut"]);
  run.session.cutAndResume();
  await run.until("ended");
  assert.equal(run.sent[1].get("last-event-id"), "7_a");
  assert.deepEqual(run.log.slice(3), ["seam", "resuming", "resumed", "open", "seam", "item a", "end ", "ended"]);
});

test("a 204 to a reconnect is an end", async () => {
  const run = play([{ texts: ["id: 1\ndata: a\n\n"], end: "cut" }, { status: 204 }]);
  await run.until("cut");
  run.session.cutAndResume();
  await run.until("ended");
  assert.match(run.detail.note, /204/);
});

test("stopping aborts, and nothing follows", async () => {
  const run = play([{ texts: ["id: 1\ndata: a\n\n"], end: "open" }]);
  while (!run.log.includes("item a")) await new Promise((resolve) => setTimeout(resolve, 1));
  run.session.stop();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(run.log, ["connecting", "open", "item a", "stopped"]);
});

test("an error event is the reason why a stream fails, whether its body is cut or not", async () => {
  const error = 'event: headwater:error\ndata: {"title":"Gone","status":410}\n\n';
  for (const end of ["cut", "close"]) {
    const run = play([{ texts: ["data: a\n\n", error], end }]);
    await run.until("failed");
    assert.equal(run.detail.kind, "event");
    assert.equal(run.detail.problem.status, 410);
    assert(run.log.includes('error {"title":"Gone","status":410}'));
  }
});

test("an app's own error, end and foreign use of the end's name or id are items", async () => {
  const own = [
    'event: error\ndata: {"title":"Gone","status":410}\n\n',
    "event: end\ndata: 1\n\n",
    "id: headwater:end\ndata: 2\n\n",
    "id: 3\nevent: headwater:end\ndata: 3\n\n",
  ];
  const run = play([{ texts: [...own, END] }]);
  await run.until("ended");
  assert.deepEqual(run.log.slice(2), ['item {"title":"Gone","status":410}', "item 1", "item 2", "item 3", "end ", "ended"]);
});

test("an error event of ours without a problem fails the stream, too", async () => {
  const run = play([{ texts: ["data: a\n\n", "event: headwater:error\ndata: oh\n\n"] }]);
  await run.until("failed");
  assert.equal(run.detail.problem.detail, "oh");
});

test("a refusal gives its problem, or its text", async () => {
  const problem = '{"title":"Unprocessable Content","status":422,"errors":[{"in":"query","name":"n"}]}';
  const run = play([{ status: 422, type: "application/problem+json", texts: [problem] }]);
  await run.until("failed");
  assert.equal(run.detail.kind, "status");
  assert.equal(run.detail.problem.errors[0].name, "n");
  const plain = play([{ status: 502, type: "text/html", texts: ["<h1>Bad gateway</h1>"] }]);
  await plain.until("failed");
  assert.equal(plain.detail.problem, null);
  assert.equal(plain.detail.text, "<h1>Bad gateway</h1>");
});

test("no answer is a failure of its own kind", async () => {
  const run = play([new TypeError("Failed to fetch")]);
  await run.until("failed");
  assert.equal(run.detail.kind, "network");
});

test("what can't be read is a fault, after the items before it, and ends the connection", async () => {
  const run = play([{ type: "application/json", texts: ["[1,2,]"], end: "open" }]);
  await run.until("failed");
  assert.deepEqual(run.log, ["connecting", "open", "item 1", "item 2", "failed"]);
  assert.equal(run.detail.kind, "fault");
});

test("it says why it can't be resumed", async () => {
  const lines = play([{ type: "application/x-ndjson", texts: ["1\n"], end: "open" }]);
  assert.equal(lines.session.whyNot, "no answer yet");
  await lines.until("open");
  assert.match(lines.session.whyNot, /only SSE has ids/);
  lines.session.stop();
  const bare = play([{ texts: ["data: 1\n\n"], end: "open" }]);
  await bare.until("open");
  assert.equal(bare.session.whyNot, "no item with an id has come yet");
  bare.session.stop();
  const whole = play([{ texts: ["id: 1\ndata: 1\n\n"] }]);
  await whole.until("ended");
  assert.equal(whole.session.whyNot, "the stream is complete");
  const cut = play([{ texts: ["id: 1\ndata: 1\n\n"], end: "cut" }]);
  await cut.until("cut");
  assert.equal(cut.session.whyNot, "");
});
