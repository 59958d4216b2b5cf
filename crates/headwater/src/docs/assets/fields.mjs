// The form's fields: one for each parameter, credential and body.

import { el, inline, prose } from "./dom.mjs";
import { isBasic } from "./request.mjs";
import { limits } from "./schema.mjs";

let count = 0;

/** Creates a field for a parameter: `{ element, control, fault(text) }`. */
export function parameterField(document, parameter, text) {
  const id = `field-${(count += 1)}`;
  const control = parameter.choices ? select(id, parameter, text) : input(id, parameter, text);
  const type = [parameter.type === "array" ? "list" : parameter.type, parameter.schema.format].filter(Boolean).join(" · ");
  const hints = [limits(document, parameter.schema)];
  if (parameter.type === "array") hints.push("values between commas");
  if (parameter.type === "object" || parameter.type === "json") hints.push("as JSON");
  return frame(id, control, {
    name: parameter.name,
    type: type === "any" ? "" : type,
    required: parameter.required,
    deprecated: parameter.deprecated,
    description: parameter.description,
    hint: hints.filter(Boolean).join(" · "),
  });
}

function input(id, parameter, text) {
  const numeric = { integer: "numeric", number: "decimal" }[parameter.type];
  const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const sample = parameter.fallback ?? parameter.example;
  const placeholder = sample === undefined || sample === null ? undefined : shown(sample);
  const attributes = { id, class: "control", autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder };
  const control = ["object", "json"].includes(parameter.type)
    ? el("textarea", { ...attributes, rows: "3" })
    : el("input", { ...attributes, type: "text", inputmode: numeric });
  control.value = text ?? (parameter.required && sample !== undefined && sample !== null ? shown(sample) : "");
  return control;
}

function select(id, parameter, text) {
  const none = parameter.fallback === undefined || parameter.fallback === null ? "not sent" : `${parameter.fallback} (default)`;
  const options = parameter.choices.map(({ value, description }) => el("option", { value: String(value) }, description ? `${value}: ${description}` : String(value)));
  const control = el("select", { id, class: "control" }, ...(parameter.required ? [] : [el("option", { value: "" }, none)]), ...options);
  const first = parameter.required ? String(parameter.fallback ?? parameter.example ?? parameter.choices[0].value) : "";
  control.value = text ?? first;
  return control;
}

/** Creates one or two fields for a security scheme. Their values stay in `credentials`, in memory. */
export function credentialField(scheme, credentials, changed) {
  const id = `field-${(count += 1)}`;
  const attributes = { class: "control", autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
  const description = scheme.description ?? "";
  if (isBasic(scheme)) {
    const given = credentials.get(scheme.name) ?? { user: "", password: "" };
    const user = el("input", { ...attributes, id, type: "text", placeholder: "user", "aria-label": "User" });
    const password = el("input", { ...attributes, type: "password", placeholder: "password", "aria-label": "Password" });
    user.value = given.user;
    password.value = given.password;
    const keep = () => {
      credentials.set(scheme.name, { user: user.value, password: password.value });
      changed();
    };
    user.addEventListener("input", keep);
    password.addEventListener("input", keep);
    const pair = el("div", { class: "pair" }, user, password);
    return frame(id, pair, { name: scheme.name, type: "user and password", description }, user);
  }
  const control = el("input", { ...attributes, id, type: "password", placeholder: scheme.type === "apiKey" ? "key" : "token" });
  control.value = credentials.get(scheme.name) ?? "";
  control.addEventListener("input", () => {
    credentials.set(scheme.name, control.value.trim());
    changed();
  });
  const type = scheme.type === "apiKey" ? `key in ${scheme.in} ${scheme.parameter}` : "bearer token";
  return frame(id, control, { name: scheme.name, type, description });
}

/** Creates a field for a body. It shows JSON errors while the user types. */
export function bodyField(type, text, changed) {
  const id = `field-${(count += 1)}`;
  const control = el("textarea", { id, class: "control code", spellcheck: "false", autocapitalize: "off", autocomplete: "off", rows: "8" });
  control.value = text ?? type.sample;
  const reset = el("button", { type: "button", class: "quiet" }, "Reset");
  const tidy = type.json ? el("button", { type: "button", class: "quiet" }, "Tidy") : null;
  const field = frame(id, control, { name: "body", type: type.type, tools: [tidy, reset] });
  const look = () => field.hintFault(type.json && control.value.trim() !== "" ? jsonFault(control.value) : "");
  reset.addEventListener("click", () => {
    control.value = type.sample;
    look();
    changed();
  });
  tidy?.addEventListener("click", () => {
    if (jsonFault(control.value) === "") control.value = JSON.stringify(JSON.parse(control.value), null, 2);
    changed();
  });
  control.addEventListener("input", look);
  return field;
}

/** Returns the JSON error of a text, with line and column if the browser reports them, or "" if it is valid. */
function jsonFault(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const place = /position (\d+)/.exec(error.message);
    if (!place) return `not JSON: ${error.message}`;
    const before = text.slice(0, Number(place[1])).split("\n");
    return `not JSON from line ${before.length}, column ${before.at(-1).length + 1}`;
  }
}

function frame(id, control, { name, type, required = false, deprecated = false, description = "", hint = "", tools = [] }, focus = control) {
  const faults = el("ul", { class: "faults", id: `${id}-faults`, hidden: true });
  const typing = el("p", { class: "typing", hidden: true });
  const label = el(
    "div",
    { class: "label" },
    el("label", { for: id }, name),
    required ? el("span", { class: "required", title: "required" }, "required") : null,
    deprecated ? el("span", { class: "deprecated" }, "deprecated") : null,
    type ? el("span", { class: "type" }, type) : null,
    ...tools,
  );
  const about = el("div", { class: "about", id: `${id}-about` }, ...prose(description), hint ? el("p", { class: "hint" }, ...inline(hint)) : null);
  focus.setAttribute("aria-describedby", `${id}-about ${id}-faults`);
  if (required) focus.setAttribute("aria-required", "true");
  const element = el("div", { class: "field" }, label, control, typing, faults, about);
  return {
    element,
    control: focus,
    fault(text) {
      faults.append(el("li", {}, text));
      faults.hidden = false;
      focus.setAttribute("aria-invalid", "true");
    },
    hintFault(text) {
      typing.textContent = text;
      typing.hidden = text === "";
    },
    clear() {
      faults.replaceChildren();
      faults.hidden = true;
      focus.removeAttribute("aria-invalid");
    },
  };
}
