// A prominent notice of a stream's end.

import { el } from "./dom.mjs";
import { whole } from "./json-view.mjs";

/** Shows a notice of one kind: "good", "warning" or "bad". */
export function showNotice(place, kind, title, ...lines) {
  place.className = `notice is-${kind}`;
  place.replaceChildren(el("p", { class: "title" }, title), ...lines.filter(Boolean));
  place.hidden = false;
}

export function hideNotice(place) {
  place.hidden = true;
  place.replaceChildren();
}

/** Returns the lines of a problem object (RFC 9457). `errors` are its faults without a form field. */
export function problemLines(problem, errors) {
  const { title: _title, status: _status, detail, type, instance, errors: _errors, ...rest } = problem;
  const lines = [detail ? el("p", {}, String(detail)) : null];
  if (errors.length > 0) lines.push(el("ul", {}, ...errors.map((error) => el("li", {}, el("code", {}, placeOf(error)), ` ${error.detail ?? ""}`))));
  const more = { ...(type && type !== "about:blank" ? { type } : {}), ...(instance ? { instance } : {}), ...rest };
  if (Object.keys(more).length > 0) lines.push(el("div", { class: "more" }, whole(JSON.stringify(more), 70)));
  return lines;
}

function placeOf(error) {
  return [error.in, error.name ?? error.pointer?.replace(/^#/, "")].filter(Boolean).join(" ");
}
