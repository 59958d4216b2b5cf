// Every streaming format, and how it is read.

import { Decoder, StreamFault } from "./decoder.mjs";
import { JsonArrayDecoder } from "./json-array.mjs";
import { JsonSeqDecoder } from "./json-seq.mjs";
import { Lines } from "./lines.mjs";
import { SseDecoder } from "./sse.mjs";

/** What is known of each format, the one that shows most first. */
export const FORMATS = [
  { name: "sse", label: "SSE", mediaTypes: ["text/event-stream"] },
  { name: "ndjson", label: "NDJSON", mediaTypes: ["application/x-ndjson", "application/jsonl", "application/ndjson"] },
  { name: "json-seq", label: "JSON-seq", mediaTypes: ["application/json-seq"] },
  { name: "json", label: "JSON", mediaTypes: ["application/json"] },
  { name: "text", label: "Text", mediaTypes: ["text/plain"] },
];

/** The format of a `Content-Type`; what is unknown is read as lines of text. */
export function formatOf(contentType) {
  const essence = essenceOf(contentType);
  const known = FORMATS.find((format) => format.mediaTypes.includes(essence));
  if (known) return known.name;
  return essence.endsWith("+json") ? "json" : "text";
}

export function labelOf(format) {
  return FORMATS.find(({ name }) => name === format)?.label ?? format;
}

/** A media type without its parameters, in lower case. */
export function essenceOf(contentType) {
  return (contentType ?? "").split(";")[0].trim().toLowerCase();
}

export function decoderFor(format, { lastEventId = "" } = {}) {
  switch (format) {
    case "sse":
      return new SseDecoder({ lastEventId });
    case "ndjson":
      return new NdjsonDecoder();
    case "json-seq":
      return new JsonSeqDecoder();
    case "json":
      return new JsonArrayDecoder();
    default:
      return new TextLineDecoder();
  }
}

/** One JSON value a line; blank lines mean nothing. */
class NdjsonDecoder extends Decoder {
  #lines = new Lines();

  read(text, give) {
    this.#lines.push(text, (data) => data.trim() !== "" && give({ data }));
  }

  /** The last line may lack its end, if it is a whole value. */
  finish(give) {
    const data = this.#lines.rest();
    if (data.trim() === "") return;
    if (!isJson(data)) throw new StreamFault("the body ends inside an item");
    give({ data });
  }
}

/** Lines of text, for people. */
class TextLineDecoder extends Decoder {
  #lines = new Lines();

  read(text, give) {
    this.#lines.push(text, (data) => give({ data }));
  }

  finish(give) {
    const data = this.#lines.rest();
    if (data !== "") give({ data });
  }
}

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
