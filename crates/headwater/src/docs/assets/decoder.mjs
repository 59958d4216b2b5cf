// The base of all formats' decoders.

/** Maximum length of an item, in UTF-16 units. It bounds the page's memory if a peer never ends its line. */
export const MAX_ITEM = 32 * 1024 * 1024;

/** An error in a stream, with a human-readable message. */
export class StreamFault extends Error {}

/** The pieces of an incomplete item, within the limit. */
export class Pieces {
  #pieces = [];
  #length = 0;

  keep(piece) {
    if (piece === "") return;
    this.#length += piece.length;
    if (this.#length > MAX_ITEM) throw new StreamFault("an item is larger than this page can hold");
    this.#pieces.push(piece);
  }

  /** Returns all pieces and `tail`, and clears the pieces. */
  take(tail = "") {
    const whole = this.#pieces.length === 0 ? tail : this.#pieces.join("") + tail;
    this.#pieces = [];
    this.#length = 0;
    return whole;
  }
}

/**
 * Decodes bytes to items, each as soon as it is complete: `{ data, event?, id?, broken? }`.
 *
 * A format implements `read(text, give)` and `finish(give)`. Either may throw a StreamFault. The items before the
 * fault are returned, and nothing after it.
 */
export class Decoder {
  /** The first fault of the stream, if there is one. */
  fault = null;
  // Removes a BOM at the start, and replaces invalid UTF-8.
  #text = new TextDecoder();

  push(bytes) {
    return this.#collect((give) => this.read(this.#text.decode(bytes, { stream: true }), give));
  }

  /** Marks the end of the body. */
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
