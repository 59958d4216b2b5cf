// What the decoders of all formats have in common.

/** The longest item, in UTF-16 units. A page must not grow with a peer that never ends its line. */
export const MAX_ITEM = 32 * 1024 * 1024;

/** What is wrong with a stream: its text is for people. */
export class StreamFault extends Error {}

/** Pieces of an item that goes on, within the limit. */
export class Pieces {
  #pieces = [];
  #length = 0;

  keep(piece) {
    if (piece === "") return;
    this.#length += piece.length;
    if (this.#length > MAX_ITEM) throw new StreamFault("an item is larger than this page can hold");
    this.#pieces.push(piece);
  }

  /** All of it, and `tail`; then there is none. */
  take(tail = "") {
    const whole = this.#pieces.length === 0 ? tail : this.#pieces.join("") + tail;
    this.#pieces = [];
    this.#length = 0;
    return whole;
  }
}

/**
 * Bytes in, items out, each as soon as it is complete: `{ data, event?, id?, broken? }`.
 *
 * A format has `read(text, give)` and `finish(give)`. Either may throw a StreamFault; the items before the
 * fault are given, and nothing behind it.
 */
export class Decoder {
  /** What is wrong with the stream, once something is. */
  fault = null;
  // Drops a BOM at the start, and replaces what is not UTF-8.
  #text = new TextDecoder();

  push(bytes) {
    return this.#collect((give) => this.read(this.#text.decode(bytes, { stream: true }), give));
  }

  /** Says that the body came to its end. */
  end() {
    return this.#collect((give) => {
      this.read(this.#text.decode(), give);
      this.finish(give);
    });
  }

  #collect(run) {
    const items = [];
    if (this.fault !== null) return items;
    try {
      run((item) => items.push(item));
    } catch (error) {
      if (!(error instanceof StreamFault)) throw error;
      this.fault = error.message;
    }
    return items;
  }
}
