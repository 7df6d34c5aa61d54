// Choosing one scope of many: a search over all of them, and the first that fit.

import { byId, make, say } from "./dom.js";
import { scopeName, scopeParts } from "./format.js";

const SHOWN = 100;

export class ScopePicker {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.scopes = ["all"];
    this.dialog = byId("scope-dialog");
    this.search = byId("scope-search");
    this.list = byId("scope-list");
    byId("scope-button").addEventListener("click", () => this.open());
    this.search.addEventListener("input", () => this.draw());
    for (const radio of this.dialog.querySelectorAll("[name=kind]")) radio.addEventListener("change", () => this.draw());
    this.dialog.addEventListener("keydown", (event) => this.#move(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  set(scopes) {
    if (scopes.length === this.scopes.length && scopes.every((key, at) => key === this.scopes[at])) return;
    this.scopes = scopes;
    if (this.dialog.open) this.draw();
  }

  choose(scope) {
    this.scope = scope;
    say(byId("scope-name"), scopeName(scope));
  }

  open() {
    this.search.value = "";
    this.draw();
    this.dialog.showModal();
    this.search.focus();
  }

  #fits(key, kind, asked) {
    const kinds = scopeParts(key).map(([name]) => name);
    const right = kind === "any" || (kind === "both" ? kinds.length === 2 : kinds.length === 1 && kinds[0] === kind);
    return right && asked.every((word) => scopeName(key).toLowerCase().includes(word));
  }

  draw() {
    const asked = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = this.dialog.querySelector("[name=kind]:checked").value;
    const found = this.scopes.filter((key) => this.#fits(key, kind, asked));
    const more = found.length > SHOWN ? `; the first ${SHOWN} are shown, search for the others` : "";
    say(byId("scope-count"), `${found.length.toLocaleString("en-US")} of ${this.scopes.length.toLocaleString("en-US")}${more}`);
    this.list.replaceChildren(...found.slice(0, SHOWN).map((key) => {
      const button = make("button", { type: "button", "aria-current": key === this.scope ? "true" : null });
      const parts = scopeParts(key);
      if (!parts.length || key === "scope=other") button.append(scopeName(key));
      for (const [kind, name] of key === "scope=other" ? [] : parts) {
        button.append(make("span", { class: "part" }, make("span", { class: "of", text: kind }), ` ${name}`), " ");
      }
      button.addEventListener("click", () => {
        this.dialog.close();
        this.onChoose(key);
      });
      return make("li", {}, button);
    }));
  }

  /** Arrow keys go from the search into the list and along it; Enter in the search takes the first. */
  #move(event) {
    const buttons = [...this.list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Enter" && event.target === this.search) {
      event.preventDefault();
      if (buttons.length && this.search.value) buttons[0].click();
    } else if (event.key === "ArrowDown" && (at >= 0 || event.target === this.search)) {
      event.preventDefault();
      buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (at ? buttons[at - 1] : this.search).focus();
    }
  }
}
