// "Copy as": the request in several languages.

import { el } from "./dom.mjs";
import { LANGUAGES } from "./snippets.mjs";

export class CopyAs {
  #tabs;
  #panel;
  #code;
  #chosen = LANGUAGES[0];
  #make = () => "";

  constructor(tablist, panel, button) {
    this.#panel = panel;
    this.#code = panel.firstElementChild;
    this.#tabs = LANGUAGES.map((language) => {
      const tab = el("button", { type: "button", role: "tab", id: `tab-${language.name}`, "aria-controls": panel.id }, language.name);
      tab.addEventListener("click", () => this.#choose(language));
      return tab;
    });
    tablist.replaceChildren(...this.#tabs);
    tablist.addEventListener("keydown", (event) => this.#key(event));
    button.addEventListener("click", () => this.#copy(button));
    this.#choose(this.#chosen);
  }

  /** Shows code. `make(language)` returns the current code in a language. */
  show(make) {
    this.#make = make;
    this.#code.textContent = make(this.#chosen);
  }

  #choose(language) {
    this.#chosen = language;
    for (const [index, tab] of this.#tabs.entries()) {
      const selected = LANGUAGES[index] === language;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) this.#panel.setAttribute("aria-labelledby", tab.id);
    }
    this.show(this.#make);
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = (LANGUAGES.indexOf(this.#chosen) + step + LANGUAGES.length) % LANGUAGES.length;
    this.#choose(LANGUAGES[to]);
    this.#tabs[to].focus();
  }

  async #copy(button) {
    const done = await write(this.#code);
    button.textContent = done ? "Copied" : "Select and copy";
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1600);
  }
}

/** Copies the code. Over plain HTTP, a page has only the older clipboard API. */
async function write(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return document.execCommand("copy");
  }
}
