// The items on the page: the newest of them, drawn once a frame, however fast they come.

import { el } from "./dom.mjs";
import { preview, whole } from "./json-view.mjs";

/** How many entries are kept. */
export const KEPT = 1000;
/** The most entries of one frame that are shown as trees; when more come at once, each gets a line. */
const TREES_PER_FRAME = 20;
/** The most entries of one frame whose lines are coloured. */
const COLOURED_PER_FRAME = 60;
/** How much of an item stands on its line. */
const LINE = 400;
/** How near the end, in pixels, counts as the end. */
const NEAR = 32;

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

export class ItemList {
  /** How many items are no longer kept. */
  dropped = 0;
  #list;
  #scroller;
  #behind;
  #entries = [];
  #next = 0;
  #drawn = 0;
  #count = 0;
  #lastAt = null;
  #frame = 0;
  #follows = true;
  #trees = true;
  #width = 80;

  /** `list`: the `ol`; `scroller`: what scrolls it; `behind`: the button that says how much is below. */
  constructor(list, scroller, behind) {
    this.#list = list;
    this.#scroller = scroller;
    this.#behind = behind;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    behind.addEventListener("click", () => this.follow());
    list.addEventListener("click", (event) => this.#clicked(event));
    scroller.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#measure()).observe(scroller);
  }

  /** How many items have come. */
  get count() {
    return this.#count;
  }

  /** Adds items that arrived at `at`, on the page's clock in ms. */
  add(items, at) {
    const time = performance.timeOrigin + at;
    for (const item of items) {
      const isItem = item.kind === undefined;
      if (isItem) this.#count += 1;
      const gap = this.#lastAt === null ? null : at - this.#lastAt;
      this.#lastAt = at;
      this.#push({ ...item, n: isItem ? this.#count : null, time, gap });
    }
    this.#schedule();
  }

  /** Marks a place between items. */
  seam(text, kind = "seam") {
    this.#push({ kind, text });
    this.#schedule();
  }

  clear() {
    this.#entries = [];
    this.#count = 0;
    this.dropped = 0;
    this.#lastAt = null;
    this.#drawn = this.#next;
    this.#follows = true;
    this.#list.replaceChildren();
    this.#behind.hidden = true;
  }

  /** Goes to the newest item, and stays with those that come. */
  follow() {
    this.#follows = true;
    this.#schedule();
  }

  /** Whether what doesn't fit on a line is shown as a tree; else each item has one line. */
  showTrees(trees) {
    this.#trees = trees;
    this.#list.replaceChildren();
    this.#drawn = 0;
    this.follow();
  }

  #push(entry) {
    this.#entries.push({ ...entry, seq: (this.#next += 1) });
    // No frame comes while the page is hidden, so the bound is kept here; in batches, for `splice` moves the rest.
    if (this.#entries.length >= 2 * KEPT) this.#trim();
  }

  #trim() {
    const gone = this.#entries.splice(0, Math.max(0, this.#entries.length - KEPT));
    for (const entry of gone) if (entry.kind === undefined) this.dropped += 1;
  }

  #schedule() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    this.#trim();
    if (!this.#follows) {
      this.#sayBehind();
      return;
    }
    this.#behind.hidden = true;
    const oldest = this.#entries[0]?.seq ?? Infinity;
    const fresh = this.#entries.filter((entry) => entry.seq > this.#drawn);
    if (fresh.length === this.#entries.length) this.#list.replaceChildren();
    while (this.#list.firstChild && this.#list.firstChild.seq < oldest) this.#list.firstChild.remove();
    const rows = document.createDocumentFragment();
    for (const entry of fresh) rows.append(this.#row(entry, fresh.length));
    this.#list.append(rows);
    this.#drawn = this.#next;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #sayBehind() {
    const below = this.#entries.filter((entry) => entry.seq > this.#drawn && entry.kind === undefined).length;
    this.#behind.textContent = below > 0 ? `↓ ${below === KEPT ? "more than " : ""}${below.toLocaleString("en")} new` : "↓ newest";
    this.#behind.hidden = false;
  }

  #row(entry, together) {
    const row = el("li", { class: "item" });
    row.seq = entry.seq;
    if (entry.text !== undefined) {
      row.className = `seam is-${entry.kind}`;
      row.append(el("span", {}, entry.text));
      return row;
    }
    row.entry = entry;
    if (entry.kind) row.classList.add(`is-${entry.kind}`);
    const gap = entry.gap === null ? "" : gapText(entry.gap);
    const name = entry.event ? el("span", { class: `event hue-${hue(entry.event)}`, title: `event: ${entry.event}` }, entry.event) : null;
    const id = entry.id ? el("span", { class: "id", title: `id: ${entry.id}` }, entry.id) : null;
    const head = el(
      "button",
      { type: "button", class: "head", tabIndex: -1, "aria-expanded": "false", "aria-label": `Item ${entry.n ?? entry.kind}` },
      el("span", { class: "n" }, entry.n === null ? "" : String(entry.n)),
      el("span", { class: "time" }, clock.format(entry.time)),
      el("span", { class: "gap", title: "since the one before" }, gap),
      el("span", { class: "names" }, ...[id, name].filter(Boolean)),
    );
    const asTree = this.#trees && together <= TREES_PER_FRAME && entry.data.length > this.#width;
    row.append(head, el("div", { class: "data" }));
    this.#fill(row, asTree ? "tree" : together <= COLOURED_PER_FRAME ? "line" : "plain");
    return row;
  }

  #fill(row, how) {
    const { data, broken } = row.entry;
    const place = row.lastChild;
    const tree = how === "tree";
    row.classList.toggle("is-open", tree);
    row.firstChild.setAttribute("aria-expanded", String(tree));
    if (tree) place.replaceChildren(whole(data, this.#width));
    else if (how === "line") place.replaceChildren(preview(data, LINE));
    else place.textContent = data.slice(0, LINE);
    if (broken) place.append(el("span", { class: "broken" }, broken));
  }

  #toggle(row) {
    // Who opens an item wants to read it: the list stays where it is.
    this.#follows = false;
    this.#fill(row, row.classList.contains("is-open") ? "line" : "tree");
    this.#sayBehind();
  }

  #clicked(event) {
    const head = event.target.closest(".head");
    if (head) this.#toggle(head.parentElement);
  }

  #key(event) {
    const heads = [...this.#list.querySelectorAll(".head")];
    const at = heads.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? heads.length - 1 : at - 1, Home: 0, End: heads.length - 1 }[event.key];
    if (to === undefined || !heads[to]) return;
    event.preventDefault();
    this.#follows = to === heads.length - 1;
    heads[to].focus();
    if (!this.#follows) this.#sayBehind();
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const atEnd = scrollTop + clientHeight >= scrollHeight - NEAR;
    if (atEnd === this.#follows) return;
    this.#follows = atEnd;
    this.#schedule();
  }

  #measure() {
    const style = getComputedStyle(this.#list);
    const wide = this.#scroller.clientWidth > 640;
    const room = this.#scroller.clientWidth - (wide ? 300 : 40);
    this.#width = Math.max(24, Math.floor(room / (parseFloat(style.fontSize) * 0.6)));
  }
}

function gapText(ms) {
  if (ms < 0.05) return "+0";
  if (ms < 10) return `+${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `+${Math.round(ms)} ms`;
  return `+${(ms / 1000).toFixed(1)} s`;
}

/** One of six colours for a name, always the same. */
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 1009;
  return sum % 6;
}
