// One play of a stream: its consecutive connections and its end. It doesn't use the DOM.

import { decoderFor, formatOf } from "./formats.mjs";

/** The id of the event that ends a Headwater stream. */
export const END_ID = "headwater:end";
const END_EVENT = "headwater:end";
const ERROR_EVENT = "headwater:error";
const POSITION_EVENT = "headwater:position";
const RESET_EVENT = "headwater:reset";
/** Maximum length of an error's body that is shown. */
const MAX_ERROR_BODY = 64 * 1024;
/** Minimum pause between a cut and the next connection, in ms. The server may request a longer one. */
const PAUSE = 400;
const MAX_PAUSE = 10_000;

/**
 * `report` receives the events: `state(state, detail)`, `items(items, at)`, `seam(text)`, `resumed(ms)`.
 *
 * States: connecting, open, resuming, and the final ones: ended, stopped, cut, failed.
 */
export class Session {
  bytes = 0;
  state = "idle";
  format = null;
  lastEventId = "";
  #request;
  #report;
  #controller = null;
  #retry = 0;
  #pause = null;
  /** The problem that an `error` event reported, until the body ends. */
  #problem = null;
  #sawEnd = false;

  constructor(request, report) {
    this.#request = request;
    this.#report = report;
  }

  start() {
    this.#connect();
  }

  /** Stops the session permanently. */
  stop() {
    if (this.isOver) return;
    this.#abort();
    this.#become("stopped");
  }

  /** Cuts the connection and reconnects like an `EventSource`. */
  cutAndResume() {
    if (!this.canResume) return;
    this.#abort();
    const id = this.lastEventId;
    this.#report.seam(`connection cut · coming back after id ${id}`);
    this.#become("resuming", { id });
    const pause = Math.min(Math.max(PAUSE, this.#retry), MAX_PAUSE);
    this.#pause = setTimeout(() => this.#connect(id), pause);
  }

  get isOver() {
    return ["idle", "ended", "stopped", "cut", "failed"].includes(this.state);
  }

  /** True if the stream can be resumed. Only SSE has ids. */
  get canResume() {
    return this.format === "sse" && this.lastEventId !== "" && this.lastEventId !== END_ID && ["open", "cut", "stopped"].includes(this.state);
  }

  /** The reason that the stream can't be resumed; empty if it can. */
  get whyNot() {
    if (this.canResume) return "";
    if (this.state === "connecting" || this.state === "resuming") return "no answer yet";
    if (this.format !== null && this.format !== "sse") return "only SSE has ids to resume after: choose SSE";
    if (this.state === "failed") return "the stream failed: start again";
    if (this.state === "ended" || this.lastEventId === END_ID) return "the stream is complete";
    return "no item with an id has come yet";
  }

  #abort() {
    clearTimeout(this.#pause);
    this.#controller?.abort();
    this.#controller = null;
  }

  #become(state, detail = {}) {
    this.state = state;
    this.#report.state(state, detail);
  }

  async #connect(lastEventId = "") {
    const controller = new AbortController();
    this.#controller = controller;
    const isCurrent = () => this.#controller === controller;
    if (!lastEventId) this.#become("connecting");
    const started = performance.now();
    let response;
    try {
      response = await send(this.#request, lastEventId, controller.signal);
    } catch (error) {
      if (isCurrent()) this.#fail({ kind: "network", message: error.message });
      return;
    }
    if (!isCurrent()) return;
    if (response.status === 204) {
      this.#become("ended", { note: "204: the stream has nothing more to give" });
    } else if (!response.ok) {
      const detail = await refusal(response);
      if (isCurrent()) this.#fail(detail);
    } else {
      const took = performance.now() - started;
      this.format = formatOf(response.headers.get("content-type"));
      if (lastEventId) this.#report.resumed(took);
      this.#become("open", { took });
      await this.#read(response, lastEventId, isCurrent);
    }
  }

  async #read(response, lastEventId, isCurrent) {
    const decoder = decoderFor(this.format, { lastEventId });
    const reader = response.body.getReader();
    this.#problem = null;
    this.#sawEnd = false;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (!isCurrent()) return;
        if (done) break;
        this.bytes += value.length;
        this.#take(decoder.push(value), decoder);
        if (decoder.fault !== null) break;
      }
      this.#take(decoder.end(), decoder);
    } catch (error) {
      if (!isCurrent()) return;
      if (this.#problem) {
        this.#fail({ kind: "event", problem: this.#problem });
      } else {
        // fetch only reports that the body is incomplete.
        this.#controller = null;
        this.#become("cut", { message: error.message });
      }
      return;
    }
    if (decoder.fault !== null) {
      this.#abort();
      this.#fail({ kind: "fault", message: decoder.fault });
      return;
    }
    this.#controller = null;
    if (this.#problem) this.#fail({ kind: "event", problem: this.#problem });
    else this.#become("ended", { marked: this.#sawEnd, unmarked: this.format === "sse" && !this.#sawEnd });
  }

  #take(items, decoder) {
    if (this.format === "sse") {
      this.lastEventId = decoder.lastEventId;
      this.#retry = decoder.retry ?? this.#retry;
    }
    // Position and reset events precede all items. The id of a position is already recorded.
    for (const item of items) {
      if (item.event === RESET_EVENT) this.#report.seam(`the stream starts over · ${problemOf(item.data)?.detail ?? "the id is none of it"}`);
    }
    const shown = items.filter((item) => item.event !== POSITION_EVENT && item.event !== RESET_EVENT);
    if (shown.length > 0) this.#report.items(shown.map((item) => this.#mark(item)), performance.now());
  }

  /** Distinguishes events about the stream from its items. */
  #mark(item) {
    if (item.event === END_EVENT && item.id === END_ID) {
      this.#sawEnd = true;
      return { ...item, kind: "end" };
    }
    const problem = item.event === ERROR_EVENT ? (problemOf(item.data) ?? { title: "The stream failed", detail: item.data }) : null;
    if (!problem) return item;
    this.#problem = problem;
    return { ...item, kind: "error" };
  }

  #fail(detail) {
    this.#controller = null;
    this.#become("failed", detail);
  }
}

async function send(request, lastEventId, signal) {
  const headers = new Headers();
  headers.set("Accept", request.accept);
  for (const [name, value] of request.headers) headers.append(name, value);
  if (lastEventId) headers.set("Last-Event-ID", lastEventId);
  const path = new URL(request.url).pathname;
  // Scripts can't set `Cookie`. So a cookie for this exact path is set, and removed once the head is received.
  const setCookie = ([name, value], more) => {
    document.cookie = `${name}=${value}; path=${path}; samesite=strict${more}`;
  };
  for (const cookie of request.cookies) setCookie(cookie, "");
  try {
    return await fetch(request.url, {
      method: request.method,
      headers,
      body: request.body ?? undefined,
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } finally {
    for (const cookie of request.cookies) setCookie(cookie, "; max-age=0");
  }
}

/** Returns the details of an error response. */
async function refusal(response) {
  const detail = { kind: "status", status: response.status, reason: response.statusText, problem: null, text: "" };
  try {
    detail.text = (await response.text()).slice(0, MAX_ERROR_BODY);
  } catch {
    return detail;
  }
  detail.problem = problemOf(detail.text);
  if (detail.problem) detail.text = "";
  return detail;
}

/** Parses a problem object (RFC 9457), if the text is one. */
function problemOf(text) {
  try {
    const value = JSON.parse(text);
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    return isObject && ["title", "detail", "status", "type"].some((member) => Object.hasOwn(value, member)) ? value : null;
  } catch {
    return null;
  }
}
