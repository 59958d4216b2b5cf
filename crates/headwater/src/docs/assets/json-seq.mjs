// JSON text sequences, RFC 7464.

import { Decoder, Pieces, StreamFault } from "./decoder.mjs";
import { JsonScan, isBracketed, isSpace } from "./json-scan.mjs";

const SEPARATOR = "\x1e";

export class JsonSeqDecoder extends Decoder {
  /** True if a record has begun and has not been returned. */
  #open = false;
  #pieces = new Pieces();
  /** `null` until the record's first character; "plain" for a number or a word. */
  #scan = null;
  #closed = false;

  read(text, give) {
    let at = 0;
    while (at < text.length) {
      if (!this.#open) {
        at = this.#begin(text, at);
        continue;
      }
      const end = endOfPiece(text, at);
      this.#keep(text.slice(at, end));
      if (end === text.length) return;
      if (text[end] === SEPARATOR) {
        this.#cut(give);
        at = end;
      } else {
        // A record of several lines continues after a line feed.
        if (this.#scan === "plain" || this.#closed) give({ data: this.#take() });
        else this.#keep("\n");
        at = end + 1;
      }
    }
  }

  finish(give) {
    this.#cut(give);
  }

  #begin(text, at) {
    let index = at;
    while (index < text.length && isSpace(text[index])) index += 1;
    if (index === text.length) return index;
    if (text[index] !== SEPARATOR) {
      throw new StreamFault(`expected a record separator, found ${JSON.stringify(text[index])}`);
    }
    this.#open = true;
    return index + 1;
  }

  #keep(piece) {
    this.#pieces.keep(piece);
    let at = 0;
    if (this.#scan === null) {
      while (at < piece.length && isSpace(piece[at])) at += 1;
      if (at === piece.length) return;
      this.#scan = isBracketed(piece[at]) ? new JsonScan() : "plain";
    }
    if (this.#scan !== "plain" && !this.#closed) this.#closed = this.#scan.advance(piece, at) >= 0;
  }

  /** Ends the record at the next separator or the end. A number or word without an end may be cut (§2.4). */
  #cut(give) {
    const { blank, whole } = { blank: this.#scan === null, whole: this.#closed };
    const data = this.#take();
    if (!blank) give(whole ? { data } : { data, broken: "this record is cut" });
  }

  #take() {
    this.#open = false;
    this.#scan = null;
    this.#closed = false;
    return this.#pieces.take().trim();
  }
}

function endOfPiece(text, at) {
  for (let index = at; index < text.length; index += 1) {
    if (text[index] === "\n" || text[index] === SEPARATOR) return index;
  }
  return text.length;
}
