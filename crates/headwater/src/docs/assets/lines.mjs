// Lines of a text that arrives in arbitrary pieces.

import { Pieces } from "./decoder.mjs";

export class Lines {
  #pieces = new Pieces();
  #afterCr = false;
  #crEnds;

  /** If `crEnds`, CR and CRLF end a line like LF (SSE). Otherwise only LF does, and a CR before it is dropped. */
  constructor({ crEnds = false } = {}) {
    this.#crEnds = crEnds;
  }

  /** Calls `give` with each line that `text` completes, without its end. */
  push(text, give) {
    let start = 0;
    if (this.#afterCr && text.length > 0) {
      this.#afterCr = false;
      if (text[0] === "\n") start = 1;
    }
    let lf = text.indexOf("\n", start);
    let cr = this.#crEnds ? text.indexOf("\r", start) : -1;
    while (lf >= 0 || cr >= 0) {
      const atCr = cr >= 0 && (lf < 0 || cr < lf);
      const end = atCr ? cr : lf;
      const line = this.#pieces.take(text.slice(start, end));
      start = end + 1;
      if (atCr) {
        // The line is complete at its CR. An LF that belongs to it may arrive later.
        if (start === text.length) this.#afterCr = true;
        else if (lf === start) start += 1;
        cr = text.indexOf("\r", start);
      }
      if (lf >= 0 && lf < start) lf = text.indexOf("\n", start);
      give(!this.#crEnds && line.endsWith("\r") ? line.slice(0, -1) : line);
    }
    this.#pieces.keep(text.slice(start));
  }

  /** Returns the text after the last line's end. */
  rest() {
    return this.#pieces.take();
  }
}
