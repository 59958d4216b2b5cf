// All streaming formats and their decoders.

import { Decoder, StreamFault } from "./decoder.mjs";
import { JsonArrayDecoder } from "./json-array.mjs";
import { JsonSeqDecoder } from "./json-seq.mjs";
import { Lines } from "./lines.mjs";
import { SseDecoder } from "./sse.mjs";

/** The known formats, the one with the most information first. */
export const FORMATS = [
  { name: "sse", label: "SSE", mediaTypes: ["text/event-stream"] },
  { name: "ndjson", label: "NDJSON", mediaTypes: ["application/x-ndjson", "application/jsonl", "application/ndjson"] },
  { name: "json-seq", label: "JSON-seq", mediaTypes: ["application/json-seq"] },
  { name: "json", label: "JSON", mediaTypes: ["application/json"] },
  { name: "text", label: "Text", mediaTypes: ["text/plain"] },
];

/** Returns the format of a `Content-Type`. An unknown type is read as lines of text. */
export function formatOf(contentType) {
  const essence = essenceOf(contentType);
  const known = FORMATS.find((format) => format.mediaTypes.includes(essence));
  if (known) return known.name;
  return essence.endsWith("+json") ? "json" : "text";
}

export function labelOf(format) {
  return FORMATS.find(({ name }) => name === format)?.label ?? format;
}

/** Returns a media type without its parameters, in lower case. */
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

/** One JSON value per line. Blank lines are ignored. */
class NdjsonDecoder extends Decoder {
  #lines = new Lines();

  read(text, give) {
    this.#lines.push(text, (data) => data.trim() !== "" && give({ data }));
  }

  /** The last line may lack its line feed if it is a complete value. */
  finish(give) {
    const data = this.#lines.rest();
    if (data.trim() === "") return;
    if (!isJson(data)) throw new StreamFault("the body ends inside an item");
    give({ data });
  }
}

/** Lines of human-readable text. */
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
