// The player: selects an operation, plays it, and reports its progress.

import { CopyAs } from "./copy.mjs";
import { baseOf, load, streamingOperations } from "./document.mjs";
import { $, el, prose, setText } from "./dom.mjs";
import { labelOf } from "./formats.mjs";
import { Form } from "./form.mjs";
import { KEPT, ItemList } from "./list.mjs";
import { Meter } from "./meter.mjs";
import { hideNotice, problemLines, showNotice } from "./notice.mjs";
import { Session } from "./session.mjs";
import { bindTheme } from "./theme.mjs";

const items = new ItemList($("items"), $("scroller"), $("behind"));
const meter = new Meter({ items: $("count"), rate: $("rate"), bytes: $("bytes"), time: $("time") }, $("pulse"), () => ({
  items: items.count,
  bytes: session?.bytes ?? 0,
}));
const copyAs = new CopyAs($("languages"), $("code"), $("copy"));
const credentials = new Map();

let operations = [];
let operation = null;
let form = null;
let session = null;
let base = null;
let api = null;

bindTheme($("theme"));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("stop").addEventListener("click", stop);
$("cut").addEventListener("click", () => session?.cutAndResume());
$("clear").addEventListener("click", clear);
$("trees").addEventListener("change", () => items.showTrees($("trees").checked));
document.addEventListener("keydown", key);
addEventListener("hashchange", chooseByHash);
open();

async function open() {
  const url = new URL("../openapi.json", location.href);
  try {
    api = await load(url);
  } catch (error) {
    say(`The document can't be read: ${error.message}`);
    document.body.dataset.state = "failed";
    return;
  }
  base = baseOf(api, url);
  operations = streamingOperations(api);
  setText($("api-title"), api.info?.title ?? "API");
  setText($("api-version"), api.info?.version ?? "");
  listOperations();
  if (operations.length === 0) {
    document.body.dataset.state = "empty";
    say("No operation of this API streams.");
    return;
  }
  chooseByHash();
}

function listOperations() {
  const rows = operations.map((one) =>
    el(
      "li",
      {},
      el(
        "a",
        { href: `#${encodeURIComponent(one.id)}`, class: one.deprecated ? "is-deprecated" : "", title: one.summary },
        el("span", { class: `method is-${one.method.toLowerCase()}` }, one.method),
        el("span", { class: "where" }, el("span", { class: "name" }, one.path), one.summary ? el("span", { class: "what" }, one.summary) : null),
      ),
    ),
  );
  $("operations").replaceChildren(...rows);
}

function chooseByHash() {
  if (operations.length === 0) return;
  let id = location.hash.slice(1);
  try {
    id = decodeURIComponent(id);
  } catch {
    // An invalidly escaped hash matches no operation.
  }
  const found = operations.find((one) => one.id === id);
  // A link within the page, such as to the stream, selects no operation.
  if (!found && operation) return;
  choose(found ?? operations[0]);
}

function choose(chosen) {
  if (chosen === operation) return;
  session?.stop();
  session = null;
  operation = chosen;
  document.title = `${chosen.path} · ${api.info?.title ?? "API"}`;
  for (const [index, row] of [...$("operations").children].entries()) {
    if (operations[index] === chosen) row.firstChild.setAttribute("aria-current", "page");
    else row.firstChild.removeAttribute("aria-current");
  }
  $("operations").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  setText($("method"), chosen.method);
  $("method").className = `method is-${chosen.method.toLowerCase()}`;
  // A path may wrap after its slashes.
  $("path").replaceChildren(...chosen.path.split(/(?<=\/)|(\{[^}]*\})/).filter(Boolean).flatMap((part) => (part.startsWith("{") ? [el("b", {}, part)] : [part, el("wbr")])));
  setText($("summary"), chosen.summary);
  $("description").replaceChildren(...prose(chosen.description));
  form = new Form($("fields"), api, chosen, base, credentials, refresh);
  clear();
  hideNotice($("notice"));
  document.body.dataset.state = "idle";
  say("Ready");
  refresh();
}

/** Updates the copied code after a change of the form. */
function refresh() {
  const request = form.request();
  copyAs.show((language) => language.make(request, form.format.name, { events: operation.events }));
  controls();
}

function start() {
  if (!form) return;
  form.clearFaults();
  if (form.demand()) {
    say("Fill in the path first");
    return;
  }
  session?.stop();
  clear();
  hideNotice($("notice"));
  session = new Session(form.request(), {
    state,
    items(found, at) {
      items.add(found, at);
      meter.count(found.filter((item) => item.kind === undefined).length, at);
      $("empty").hidden = true;
      controls();
    },
    seam: (text) => items.seam(text),
    resumed: (took) => items.seam(`connected again after ${Math.round(took)} ms`, "joined"),
  });
  meter.start();
  session.start();
  // On a narrow page the items are below the form.
  if (matchMedia("(max-width: 860px)").matches) document.querySelector(".stream").scrollIntoView();
}

function stop() {
  session?.stop();
}

function clear() {
  items.clear();
  $("empty").hidden = false;
  $("dropped").hidden = true;
  meter.draw();
}

function controls() {
  const playing = session !== null && !session.isOver;
  const focused = document.activeElement === $("stop");
  $("stop").disabled = !playing;
  if (focused && !playing) $("start").focus();
  $("cut").disabled = !session?.canResume;
  setText($("cut").lastElementChild, session?.isOver && session.canResume ? "Resume" : "Cut & resume");
  const why = whyNoCut();
  $("cut").title = why || "Breaks the connection and reconnects with the last id";
  setText($("why"), why ? `Cut & resume: ${why}` : "");
  $("why").title = why;
  setText($("start").lastElementChild, playing ? "Restart" : "Start");
  const dropped = Math.max(0, items.count - KEPT);
  $("dropped").hidden = dropped === 0;
  if (dropped > 0) setText($("dropped"), `newest ${KEPT.toLocaleString("en")} kept, ${dropped.toLocaleString("en")} older dropped`);
}

/** Returns the reason that the connection can't be cut and resumed now, or an empty text if it can. */
function whyNoCut() {
  if (session) return session.whyNot;
  return !form || form.format.name === "sse" ? "start the stream first" : "only SSE has ids to resume after: choose SSE";
}

function say(text) {
  setText($("status"), text);
  $("status").title = text;
}

const counted = () => `${items.count.toLocaleString("en")} ${items.count === 1 ? "item" : "items"}`;

/** Handles a session's change of state. */
function state(name, detail) {
  document.body.dataset.state = name;
  if (session?.isOver) meter.stop();
  else meter.resume();
  const notice = $("notice");
  if (name === "connecting") say("Connecting…");
  if (name === "resuming") {
    hideNotice(notice);
    say(`Coming back after id ${detail.id}…`);
  }
  if (name === "open") say(`Playing ${labelOf(session.format)}, answered in ${Math.round(detail.took)} ms`);
  if (name === "stopped") {
    say(`Stopped after ${counted()}`);
    items.seam("stopped", "stopped");
  }
  if (name === "ended") ended(notice, detail);
  if (name === "cut") {
    say(`Cut after ${counted()}`);
    items.seam("the body was cut here", "broken");
    const way = session.canResume ? `Resume takes it up after id ${session.lastEventId}.` : "Without ids it can't be taken up again.";
    showNotice(notice, "warning", "The connection broke before the stream ended", el("p", {}, `${counted()} came, each whole. ${way}`));
  }
  if (name === "failed") failed(notice, detail);
  controls();
}

function ended(notice, detail) {
  say(`Ended after ${counted()}`);
  if (detail.note) showNotice(notice, "good", detail.note);
  else if (detail.unmarked) {
    items.seam("the body ended, but no end event came", "stopped");
    showNotice(notice, "warning", "The body ended without an end event", el("p", {}, "An EventSource would take it for a break and come back."));
  } else if (!detail.marked) items.seam(items.count === 0 ? "complete, with no items" : "complete", "end");
}

function failed(notice, detail) {
  const { kind, problem, status, message } = detail;
  if (kind === "network") {
    say("No answer");
    showNotice(notice, "bad", "There was no answer", el("p", {}, message), el("p", {}, "Is the server up? The browser's console may say more."));
  } else if (kind === "fault") {
    say(`Broken after ${counted()}`);
    items.seam(message, "broken");
    showNotice(notice, "bad", "The stream can't be read on", el("p", {}, message));
  } else if (kind === "event") {
    say(`Failed after ${counted()}`);
    showNotice(notice, "bad", `The stream failed: ${titleOf(problem)}`, ...problemLines(problem, faultsOf(problem)));
  } else {
    const title = problem ? titleOf(problem) : `${status} ${detail.reason}`.trim();
    say(`Refused: ${title}`);
    const lines = problem ? problemLines(problem, form.showFaults(faultsOf(problem))) : [detail.text ? el("pre", {}, detail.text) : null];
    showNotice(notice, "bad", title, ...lines);
  }
}

function titleOf(problem) {
  return [problem.status, problem.title].filter(Boolean).join(" ") || "a problem without a name";
}

function faultsOf(problem) {
  return Array.isArray(problem.errors) ? problem.errors.filter((error) => error !== null && typeof error === "object") : [];
}

function key(event) {
  if (event.key === "Escape" && session && !session.isOver) {
    event.preventDefault();
    stop();
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    start();
  } else if (event.key === "Enter" && event.target === document.body) {
    start();
  }
}
