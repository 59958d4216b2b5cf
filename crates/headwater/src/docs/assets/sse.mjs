// Server-Sent Events, as WHATWG HTML §9.2.6 interprets an event stream.

import { Decoder, Pieces } from "./decoder.mjs";
import { Lines } from "./lines.mjs";

export class SseDecoder extends Decoder {
  /** Value of `Last-Event-ID` for a reconnect. */
  lastEventId;
  /** Reconnection time in ms, if the stream has set one. */
  retry = null;
  /** Number of comments, which servers send as heartbeats. */
  comments = 0;

  #lines = new Lines({ crEnds: true });
  #data = new Pieces();
  #hasData = false;
  #event = "";
  #id;

  /** `lastEventId` is the last id of the previous connection. */
  constructor({ lastEventId = "" } = {}) {
    super();
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
  }

  read(text, give) {
    this.#lines.push(text, (line) => (line === "" ? this.#dispatch(give) : this.#line(line)));
  }

  /** "Once the end of the file is reached, any pending data must be discarded." */
  finish() {}

  #line(line) {
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.comments += 1;
      return;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      this.#data.keep(this.#hasData ? `\n${value}` : value);
      this.#hasData = true;
    } else if (name === "event") {
      this.#event = value;
    } else if (name === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (name === "retry") {
      if (/^[0-9]+$/.test(value)) this.retry = Number(value);
    }
  }

  #dispatch(give) {
    this.lastEventId = this.#id;
    // A block is an event only if it has a `data` field, which may be empty.
    if (this.#hasData) give({ data: this.#data.take(), event: this.#event, id: this.#id });
    this.#hasData = false;
    this.#event = "";
  }
}
