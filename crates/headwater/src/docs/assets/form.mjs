// The form of one operation's request.

import { el } from "./dom.mjs";
import { bodyField, credentialField, parameterField } from "./fields.mjs";
import { buildRequest, missingInPath } from "./request.mjs";

const GROUPS = { path: "Path", query: "Query", header: "Headers", cookie: "Cookies" };
/** Headers that scripts may not send (Fetch §2.2.2). The copied code sends them. */
const FORBIDDEN = /^(proxy-|sec-|(accept-(charset|encoding)|access-control-request-(headers|method)|connection|content-length|cookie2?|date|dnt|expect|host|keep-alive|origin|referer|set-cookie|te|trailer|transfer-encoding|upgrade|via)$)/i;

export class Form {
  #operation;
  #base;
  #credentials;
  #fields = new Map();
  #body = null;
  #contentType = "";
  #format;
  #changed;

  /** `changed` is called after every change. `credentials` is shared by the forms of all operations. */
  constructor(root, document, operation, base, credentials, changed) {
    this.#operation = operation;
    this.#base = base;
    this.#credentials = credentials;
    this.#changed = changed;
    this.#format = operation.formats[0];
    root.replaceChildren(...[this.#formats(), ...this.#parameters(document), this.#security(), this.#bodySection()].filter(Boolean));
  }

  get format() {
    return this.#format;
  }

  /** Returns the request with the current values. */
  request() {
    return buildRequest(this.#operation, this.#base, {
      values: this.#values(),
      body: this.#body?.control.value ?? null,
      contentType: this.#contentType,
      accept: this.#format.type,
      credentials: this.#credentials,
    });
  }

  /** Marks the missing required fields and focuses the first of them. */
  demand() {
    const missing = missingInPath(this.#operation, this.#values());
    for (const parameter of missing) this.#fields.get(`path ${parameter.name}`).fault("the path needs a value here");
    if (missing.length > 0) this.#fields.get(`path ${missing[0].name}`).control.focus();
    return missing.length > 0;
  }

  /** Shows the faults of a problem at their fields. Returns those without a field. */
  showFaults(errors) {
    let first = null;
    const others = errors.filter((error) => {
      const field = error.in === "body" || (error.in === undefined && error.pointer !== undefined) ? this.#body : this.#fields.get(`${error.in} ${error.name}`);
      if (!field) return true;
      const place = error.pointer && error.pointer !== "#" && error.pointer !== "" ? `${error.pointer.replace(/^#/, "")}: ` : "";
      field.fault(`${place}${error.detail ?? "not as it should be"}`);
      first ??= field;
      return false;
    });
    first?.control.scrollIntoView({ block: "nearest" });
    return others;
  }

  clearFaults() {
    for (const field of [...this.#fields.values(), this.#body]) field?.clear();
  }

  #values() {
    return new Map([...this.#fields].map(([key, field]) => [key, field.control.value]));
  }

  #formats() {
    const choices = this.#operation.formats.map((format) => {
      const radio = el("input", { type: "radio", name: "format", value: format.name });
      radio.checked = format === this.#format;
      radio.addEventListener("change", () => {
        this.#format = format;
        this.#changed();
      });
      return el("label", { title: format.type }, radio, el("span", {}, format.label));
    });
    return el("fieldset", { class: "group" }, el("legend", {}, "Format"), el("div", { class: "segments" }, ...choices));
  }

  #parameters(document) {
    return Object.entries(GROUPS).flatMap(([place, title]) => {
      const own = this.#operation.parameters.filter((parameter) => parameter.in === place);
      if (own.length === 0) return [];
      const fields = own.map((parameter) => {
        const field = parameterField(document, parameter);
        this.#fields.set(`${place} ${parameter.name}`, field);
        if (place === "header" && FORBIDDEN.test(parameter.name)) field.hintFault("a page may not send this header; the copied code does");
        field.control.addEventListener("input", () => {
          field.clear();
          this.#changed();
        });
        return field.element;
      });
      return [el("fieldset", { class: "group" }, el("legend", {}, title), ...fields)];
    });
  }

  #security() {
    const { schemes, optional } = this.#operation.security;
    if (schemes.length === 0) return null;
    const note = schemes.length > 1 || optional ? "What is left empty isn't sent. " : "";
    return el(
      "fieldset",
      { class: "group" },
      el("legend", {}, "Credentials"),
      ...schemes.map((scheme) => credentialField(scheme, this.#credentials, this.#changed).element),
      el("p", { class: "hint" }, `${note}Kept in this page's memory only.`),
    );
  }

  #bodySection() {
    const body = this.#operation.body;
    if (!body) return null;
    const place = el("div", {});
    const use = (type) => {
      this.#contentType = type.type;
      this.#body = bodyField(type, undefined, this.#changed);
      this.#body.control.addEventListener("input", () => {
        this.#body.clear();
        this.#changed();
      });
      place.replaceChildren(this.#body.element);
    };
    const types = el("select", { class: "control", "aria-label": "Content type" }, ...body.types.map(({ type }) => el("option", { value: type }, type)));
    types.addEventListener("change", () => {
      use(body.types[types.selectedIndex]);
      this.#changed();
    });
    use(body.types.find(({ json }) => json) ?? body.types[0]);
    types.value = this.#contentType;
    return el("fieldset", { class: "group" }, el("legend", {}, body.required ? "Body" : "Body (optional)"), body.types.length > 1 ? types : null, place);
  }
}
