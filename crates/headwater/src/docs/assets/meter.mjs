// Totals and rates of a stream, and a chart of the last half minute.

import { setText } from "./dom.mjs";

const SLOT = 250;
const SLOTS = 120;

export class Meter {
  #places;
  #canvas;
  #slots = new Map();
  #started = null;
  #stopped = null;
  #read;
  #timer = null;

  /** `places` are the elements for items, rate, bytes and time. `read` returns the current `{ items, bytes }`. */
  constructor(places, canvas, read) {
    this.#places = places;
    this.#canvas = canvas;
    this.#read = read;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  start() {
    this.#slots.clear();
    this.#started = performance.now();
    this.#stopped = null;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.draw(), 100);
    this.draw();
  }

  /** Resumes after a pause. The time since the start includes the pause. */
  resume() {
    if (this.#stopped === null) return;
    this.#stopped = null;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.draw(), 100);
  }

  stop() {
    clearInterval(this.#timer);
    this.#stopped ??= performance.now();
    this.draw();
  }

  count(items, at) {
    const slot = Math.floor(at / SLOT);
    this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + items);
    if (this.#slots.size > 2 * SLOTS) for (const old of this.#slots.keys()) if (old < slot - SLOTS) this.#slots.delete(old);
  }

  draw() {
    const { items, bytes } = this.#read();
    const now = this.#stopped ?? performance.now();
    const elapsed = this.#started === null ? 0 : now - this.#started;
    setText(this.#places.items, items.toLocaleString("en"));
    setText(this.#places.bytes, sizeText(bytes));
    setText(this.#places.time, timeText(elapsed));
    setText(this.#places.rate, rateText(this.#rate(now, elapsed, items)));
    this.#paint(now);
  }

  /** Returns the items per second: over the last two seconds while the stream runs, over the whole play afterwards. */
  #rate(now, elapsed, items) {
    if (this.#stopped !== null || elapsed < 2000) return elapsed > 0 ? items / (elapsed / 1000) : 0;
    const last = Math.floor(now / SLOT);
    let sum = 0;
    for (let slot = last - 8; slot < last; slot += 1) sum += this.#slots.get(slot) ?? 0;
    return sum / ((8 * SLOT) / 1000);
  }

  #paint(now) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const ratio = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.#canvas);
    const step = width / SLOTS;
    const last = Math.floor(now / SLOT);
    const drift = (now / SLOT - last) * step;
    let most = 4;
    for (let slot = last - SLOTS; slot <= last; slot += 1) most = Math.max(most, this.#slots.get(slot) ?? 0);
    pen.fillStyle = style.color;
    for (let back = 0; back <= SLOTS; back += 1) {
      const count = this.#slots.get(last - back);
      if (!count) continue;
      const tall = Math.max(3, (count / most) * (height - 2));
      pen.globalAlpha = 0.35 + 0.65 * (1 - back / SLOTS);
      pen.beginPath();
      pen.roundRect(width - (back + 1) * step - drift + step, height - tall, Math.max(1.5, step - 1.5), tall, 1);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }
}

function rateText(rate) {
  return rate >= 100 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1);
}

export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function timeText(ms) {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}
