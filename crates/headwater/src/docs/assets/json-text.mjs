// JSON as text: tokens, and a tree that keeps the notation of every number.

const TOKEN = /"(?:[^"\\\u0000-\u001f]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]|[^\s]/g;

/** Returns the kind and text of each token, up to `limit` characters of the text. A string before a colon is a key. */
export function tokens(text, limit = Infinity) {
  const found = [];
  TOKEN.lastIndex = 0;
  const window = text.length > limit ? text.slice(0, limit) : text;
  for (let match = TOKEN.exec(window); match; match = TOKEN.exec(window)) {
    const token = match[0];
    if (token === ":" && found.at(-1)?.kind === "string") found.at(-1).kind = "key";
    found.push({ kind: kindOf(token), text: token });
  }
  return found;
}

function kindOf(token) {
  if (token[0] === '"' && token.length > 1) return "string";
  if (/^[-\d]/.test(token)) return "number";
  return /^[tfn]/.test(token) && token.length > 1 ? "word" : "mark";
}

/**
 * Returns the tree of a JSON text: `{ kind, text }` for a scalar, `{ kind: "object" | "array", entries: [[key, node]] }`
 * for the rest (an array's keys are `null`). Returns `null` if the text isn't JSON or is too deep to display.
 */
export function parseTree(text) {
  try {
    JSON.parse(text);
    const all = tokens(text);
    const [node, next] = nodeAt(all, 0);
    return next === all.length ? node : null;
  } catch {
    return null;
  }
}

function nodeAt(all, at) {
  const token = all[at];
  if (token.text !== "{" && token.text !== "[") return [{ kind: token.kind, text: token.text }, at + 1];
  const isObject = token.text === "{";
  const entries = [];
  let next = at + 1;
  while (all[next].text !== "}" && all[next].text !== "]") {
    if (all[next].kind === "mark" && all[next].text === ",") {
      next += 1;
      continue;
    }
    const key = isObject ? all[next].text : null;
    const [node, after] = nodeAt(all, isObject ? next + 2 : next);
    entries.push([key, node]);
    next = after;
  }
  return [{ kind: isObject ? "object" : "array", entries }, next + 1];
}

/** Returns the length of a node on one line. Counting stops after `limit`. */
export function lengthOf(node, limit) {
  if (!node.entries) return node.text.length;
  let length = 2;
  for (const [key, child] of node.entries) {
    length += (key === null ? 0 : key.length + 2) + lengthOf(child, limit) + 2;
    if (length > limit) break;
  }
  return length;
}
