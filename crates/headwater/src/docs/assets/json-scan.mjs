// Detection of a JSON value's end without building the value.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Follows one array, object or string through text that arrives in pieces. */
export class JsonScan {
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** Reads the start or rest of a value in `text` from `at`. Returns the index after its end, or -1 if it is incomplete. */
  advance(text, at) {
    for (let index = at; index < text.length; index += 1) {
      const code = text.charCodeAt(index);
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (code === BACKSLASH) this.#escaped = true;
        else if (code === QUOTE) {
          this.#inString = false;
          if (this.#depth === 0) return index + 1;
        }
      } else if (code === QUOTE) {
        this.#inString = true;
      } else if (code === 0x7b || code === 0x5b) {
        this.#depth += 1;
      } else if (code === 0x7d || code === 0x5d) {
        this.#depth -= 1;
        if (this.#depth <= 0) return index + 1;
      }
    }
    return -1;
  }
}

/** Returns true if a value that starts with this character has an explicit end. */
export function isBracketed(character) {
  return character === "{" || character === "[" || character === '"';
}

export function isSpace(character) {
  return character === " " || character === "\n" || character === "\r" || character === "\t";
}
