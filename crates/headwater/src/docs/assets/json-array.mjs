// A JSON array whose elements are the items, decoded incrementally.

import { Decoder, Pieces, StreamFault } from "./decoder.mjs";
import { JsonScan, isBracketed, isSpace } from "./json-scan.mjs";

const EXPECTED = {
  first: 'expected a value or "]"',
  value: "expected a value",
  comma: 'expected "," or "]"',
  over: 'expected nothing behind "]"',
};

export class JsonArrayDecoder extends Decoder {
  #state = "start";
  #scan = null;
  /** The start of an element that continues in the next piece. */
  #pieces = new Pieces();

  read(text, give) {
    let at = 0;
    while (at < text.length) {
      if (this.#state === "whole") {
        this.#pieces.keep(text.slice(at));
        return;
      }
      if (this.#state === "bracketed" || this.#state === "plain") {
        const end = this.#state === "plain" ? endOfPlain(text, at) : this.#scan.advance(text, at);
        if (end < 0) {
          this.#pieces.keep(text.slice(at));
          return;
        }
        give({ data: this.#pieces.take(text.slice(at, end)) });
        this.#state = "comma";
        at = end;
      } else if (isSpace(text[at])) {
        at += 1;
      } else {
        at += this.#step(text[at]);
      }
    }
  }

  finish(give) {
    if (this.#state === "whole") give({ data: this.#pieces.take() });
    else if (this.#state !== "start" && this.#state !== "over") {
      throw new StreamFault("the body ends before its array does");
    }
  }

  /** Processes one character between elements. Returns the number of characters consumed. */
  #step(character) {
    switch (this.#state) {
      case "start":
        // A body that is not an array is one item.
        this.#state = character === "[" ? "first" : "whole";
        return character === "[" ? 1 : 0;
      case "first":
      case "value":
        if (character === "]" && this.#state === "first") {
          this.#state = "over";
          return 1;
        }
        if (character === "," || character === "]") break;
        this.#scan = new JsonScan();
        this.#state = isBracketed(character) ? "bracketed" : "plain";
        return 0;
      case "comma":
        if (character === ",") this.#state = "value";
        else if (character === "]") this.#state = "over";
        else break;
        return 1;
      default:
    }
    throw new StreamFault(`${EXPECTED[this.#state]}, found ${JSON.stringify(character)}`);
  }
}

/** Returns the end of a number, `true`, `false` or `null`, which is the start of the next token. */
function endOfPlain(text, at) {
  for (let index = at; index < text.length; index += 1) {
    const character = text[index];
    if (character === "," || character === "]" || isSpace(character)) return index;
  }
  return -1;
}
