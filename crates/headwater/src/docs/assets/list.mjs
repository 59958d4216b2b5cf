// The newest items on the page, drawn at most once per frame.

import { el } from "./dom.mjs";
import { shortId } from "./ids.mjs";
import { preview, whole } from "./json-view.mjs";

/** Number of entries that are kept. */
export const KEPT = 1000;
/** Maximum number of entries per frame that are shown as trees. If more arrive at once, each has one line. */
const TREES_PER_FRAME = 20;
/** Maximum number of entries per frame with coloured lines. */
const COLOURED_PER_FRAME = 60;
/** Maximum number of entries drawn per frame in a rush. Earlier ones follow after it, or when the user scrolls. */
const RUSH = 150;
/** Time between two drawings in a rush, in ms. */
const RUSH_PAUSE = 60;
/** Time without a drawing after which a rush is over, in ms. */
const CALM = 250;
/** Maximum number of characters of an item's line. */
const LINE = 400;
/** Distance from the end that counts as the end, in pixels. */
const NEAR = 32;

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

export class ItemList {
  #list;
  #scroller;
  #behind;
  #entries = [];
  #next = 0;
  #drawn = 0;
  #count = 0;
  #lastAt = null;
  #frame = 0;
  #lastRush = 0;
  #calm = null;
  #follows = true;
  /** Scroll position of the list. */
  #top = 0;
  #trees = true;
  #width = 80;

  /** `list` is the `ol`, `scroller` scrolls it, and `behind` is the button with the number of items below. */
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

  /** Number of items received. */
  get count() {
    return this.#count;
  }

  /** Adds items that arrived at `at`, in ms on the page's clock. */
  add(items, at) {
    const time = performance.timeOrigin + at;
    for (const item of items) {
      if (item.kind === "end") {
        this.seam(`complete · event ${item.event}${item.data ? ` · ${item.data}` : ""}`, "end");
        continue;
      }
      const isItem = item.kind === undefined;
      if (isItem) this.#count += 1;
      const gap = this.#lastAt === null ? null : at - this.#lastAt;
      this.#lastAt = at;
      this.#push({ ...item, n: isItem ? this.#count : null, time, gap });
    }
    this.#schedule();
  }

  /** Adds a separator between items. */
  seam(text, kind = "seam") {
    this.#push({ kind, text });
    this.#schedule();
  }

  clear() {
    this.#entries = [];
    this.#count = 0;
    this.#lastAt = null;
    this.#drawn = this.#next;
    this.#follows = true;
    this.#list.replaceChildren();
    this.#list.classList.remove("has-ids");
    this.#behind.hidden = true;
  }

  /** Scrolls to the newest item and follows new ones. */
  follow() {
    this.#follows = true;
    this.#schedule();
  }

  /** Sets if values that don't fit on a line are shown as trees. Otherwise each item has one line. */
  showTrees(trees) {
    this.#trees = trees;
    this.#list.replaceChildren();
    this.#drawn = 0;
    this.follow();
  }

  #push(entry) {
    this.#entries.push({ ...entry, seq: (this.#next += 1) });
    // Hidden pages have no frames, so the bound is enforced here. It is in batches because `splice` moves the rest.
    if (this.#entries.length >= 2 * KEPT) this.#trim();
  }

  #trim() {
    this.#entries.splice(0, Math.max(0, this.#entries.length - KEPT));
  }

  #schedule() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    this.#trim();
    if (!this.#follows) {
      this.#fillUp();
      this.#sayBehind();
      return;
    }
    const fresh = this.#entries.filter((entry) => entry.seq > this.#drawn);
    if (fresh.length > RUSH && performance.now() - this.#lastRush < RUSH_PAUSE) {
      this.#schedule();
      return;
    }
    this.#behind.hidden = true;
    if (fresh.length > RUSH) {
      this.#lastRush = performance.now();
      this.#list.replaceChildren(this.#rows(fresh.slice(-RUSH)));
    } else {
      const oldest = this.#entries[0]?.seq ?? Infinity;
      while (this.#list.firstChild && this.#list.firstChild.seq < oldest) this.#list.firstChild.remove();
      this.#list.append(this.#rows(fresh));
    }
    this.#drawn = this.#next;
    this.#toEnd();
    clearTimeout(this.#calm);
    this.#calm = setTimeout(() => this.#fillUp(), CALM);
  }

  /** Draws the entries before the first drawn one. Visible entries keep their position. */
  #fillUp() {
    const first = this.#list.firstChild?.seq;
    const missing = this.#entries.filter((entry) => entry.seq < first);
    if (missing.length === 0) return;
    const below = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    this.#list.prepend(this.#rows(missing));
    this.#scroller.scrollTop = this.#scroller.scrollHeight - below;
    this.#top = this.#scroller.scrollTop;
  }

  #rows(entries) {
    const rows = document.createDocumentFragment();
    for (const entry of entries) rows.append(this.#row(entry, entries.length));
    return rows;
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
    const head = el(
      "button",
      { type: "button", class: "head", tabIndex: -1, "aria-expanded": "false", "aria-label": `Item ${entry.n ?? entry.kind}` },
      el("span", { class: "n" }, entry.n === null ? "" : String(entry.n)),
      el("span", { class: "time" }, clock.format(entry.time)),
      el("span", { class: "gap", title: "since the one before" }, gap),
      el("span", { class: "id", title: entry.id ? `id: ${entry.id}` : null }, entry.id ? shortId(entry.id) : ""),
    );
    if (entry.id) this.#list.classList.add("has-ids");
    const asTree = this.#trees && together <= TREES_PER_FRAME && entry.data.length > this.#width;
    row.append(head, el("div", { class: "content" }, name, el("div", { class: "data" })));
    this.#fill(row, asTree ? "tree" : together <= COLOURED_PER_FRAME ? "line" : "plain");
    return row;
  }

  #fill(row, how) {
    const { data, broken } = row.entry;
    const place = row.lastChild.lastChild;
    const tree = how === "tree";
    row.classList.toggle("is-open", tree);
    row.firstChild.setAttribute("aria-expanded", String(tree));
    if (tree) place.replaceChildren(whole(data, this.#width));
    else if (how === "line") place.replaceChildren(preview(data, LINE));
    else place.textContent = data.slice(0, LINE);
    if (broken) place.append(el("span", { class: "broken" }, broken));
  }

  #toggle(row) {
    // A user who opens an item reads it, so the list stops following.
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

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
  }

  /** Stops following when the user scrolls up, and resumes at the end. Growth of the list is not a scroll. */
  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const atEnd = scrollTop + clientHeight >= scrollHeight - NEAR;
    const wentUp = scrollTop < this.#top - 1;
    this.#top = scrollTop;
    if (this.#follows ? atEnd || !wentUp : !atEnd) return;
    this.#follows = atEnd;
    this.#schedule();
  }

  #measure() {
    const character = parseFloat(getComputedStyle(this.#list).fontSize) * 0.61;
    // Each item has its number, time, gap and id beside it, unless the page is narrow.
    const beside = this.#scroller.clientWidth > 640 ? 44 : 2;
    this.#width = Math.max(24, Math.floor((this.#scroller.clientWidth - 44) / character) - beside);
    if (this.#follows && this.#list.firstChild) this.#toEnd();
  }
}

function gapText(ms) {
  if (ms < 0.05) return "+0";
  if (ms < 10) return `+${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `+${Math.round(ms)} ms`;
  return `+${(ms / 1000).toFixed(1)} s`;
}

/** Returns one of six colours for a name, always the same. */
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 1009;
  return sum % 6;
}
