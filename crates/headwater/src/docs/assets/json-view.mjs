// JSON on the page: on one line if it fits, otherwise as a folding tree.

import { el } from "./dom.mjs";
import { isJson } from "./formats.mjs";
import { lengthOf, parseTree, tokens } from "./json-text.mjs";

/** Length above which a string is folded. */
const LONG_STRING = 240;
/** Length above which a text isn't parsed for its line. */
const LONG_TEXT = 4096;
/** Number of children that are shown at once. A button shows the rest. */
const MANY = 40;
/** Depth below which values that don't fit on a line are folded. */
const OPEN_DEPTH = 3;
/** Maximum length of a text that is shown as a tree. */
const MAX_TREE = 2 * 1024 * 1024;

/** Returns a text as one line, truncated to `limit`. */
export function preview(text, limit) {
  const line = document.createDocumentFragment();
  if (!looksLikeJson(text)) {
    line.append(el("span", { class: "j-text" }, text.slice(0, limit)), text.length > limit ? "…" : "");
    return line;
  }
  const seen = tokens(text, limit);
  for (const [index, token] of seen.entries()) appendToken(line, token, seen[index + 1]);
  if (text.length > limit) line.append(el("span", { class: "j-more" }, "…"));
  return line;
}

function appendToken(parent, token, next) {
  if (token.kind !== "mark") parent.append(el("span", { class: `j-${token.kind}` }, token.text));
  else if (token.text === ":" || (token.text === "," && next)) parent.append(`${token.text} `);
  else parent.append(token.text);
}

/** Returns true if a text looks like JSON. For a long text, only the first character is checked. */
function looksLikeJson(text) {
  return text.length > LONG_TEXT ? /^\s*[[{"]/.test(text) : isJson(text);
}

/** Returns the whole value. A text that isn't JSON is shown unchanged. */
export function whole(text, width) {
  const tree = text.length <= MAX_TREE ? parseTree(text) : null;
  if (!tree) return el("span", { class: "j-text" }, ...folded(text, 4 * LONG_STRING));
  return render(tree, { width, depth: 0, indent: 0 });
}

/** Returns a text, or its start and a button that shows the rest. */
function folded(text, limit) {
  if (text.length <= limit) return [text];
  const rest = el("button", { type: "button", class: "fold", tabIndex: -1 }, `… ${(text.length - limit).toLocaleString("en")} more characters`);
  rest.addEventListener("click", (event) => {
    event.stopPropagation();
    rest.replaceWith(text.slice(limit));
  });
  return [text.slice(0, limit), rest];
}

function render(node, place) {
  if (!node.entries) return el("span", { class: `j-${node.kind}` }, ...folded(node.text, LONG_STRING));
  const fits = lengthOf(node, place.width) + place.indent <= place.width;
  if (fits && !node.entries.some(([, child]) => child.kind === "string" && child.text.length > LONG_STRING)) return oneLine(node);
  return block(node, place);
}

function oneLine(node) {
  const [open, close] = brackets(node);
  const line = el("span", {}, open);
  node.entries.forEach(([key, child], index) => {
    if (index > 0) line.append(", ");
    if (key !== null) line.append(el("span", { class: "j-key" }, key), ": ");
    line.append(child.entries ? oneLine(child) : el("span", { class: `j-${child.kind}` }, child.text));
  });
  line.append(close);
  return line;
}

function block(node, place) {
  const [open, close] = brackets(node);
  const count = node.entries.length;
  const noun = node.kind === "array" ? "item" : "key";
  const inside = el("span", { class: "j-inside" });
  const toggle = el("button", { type: "button", class: "j-toggle", tabIndex: -1, "aria-label": `fold ${count} ${noun}${count === 1 ? "" : "s"}` });
  const summary = el("span", { class: "j-count" }, `${count} ${noun}${count === 1 ? "" : "s"}`);
  const box = el("span", { class: "j-block" }, toggle, open, summary, inside, close);
  // Children are created when they are first shown.
  const fill = () => inside.childElementCount === 0 && inside.append(...children(node, 0, place));
  const setOpen = (isOpen) => {
    if (isOpen) fill();
    box.classList.toggle("is-folded", !isOpen);
    toggle.setAttribute("aria-expanded", String(isOpen));
  };
  toggle.addEventListener("click", (event) => {
    event.stopPropagation();
    setOpen(box.classList.contains("is-folded"));
  });
  setOpen(place.depth < OPEN_DEPTH && (place.depth === 0 || count <= MANY));
  return box;
}

function children(node, from, place) {
  const below = { width: place.width, depth: place.depth + 1, indent: place.indent + 2 };
  const lines = node.entries.slice(from, from + MANY).map(([key, child], index) => {
    const line = el("span", { class: "j-line" });
    if (key !== null) line.append(el("span", { class: "j-key" }, key), ": ");
    const indent = below.indent + (key?.length ?? 0) + 2;
    line.append(render(child, { ...below, indent }));
    if (from + index + 1 < node.entries.length) line.append(",");
    return line;
  });
  const left = node.entries.length - from - MANY;
  if (left > 0) {
    const more = el("button", { type: "button", class: "fold", tabIndex: -1 }, `… ${left.toLocaleString("en")} more`);
    more.addEventListener("click", (event) => {
      event.stopPropagation();
      more.replaceWith(...children(node, from + MANY, place));
    });
    lines.push(more);
  }
  return lines;
}

function brackets(node) {
  return node.kind === "array" ? ["[", "]"] : ["{", "}"];
}
