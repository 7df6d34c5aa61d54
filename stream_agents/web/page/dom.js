// What is drawn is made of elements and text. No markup is ever parsed: names of models, tenants and people are text.

/** An element; properties that are null are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Only what changed is touched, so that a selection or a reader's place is not lost every second. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, text) {
  say(element, text ?? "");
  element.hidden = !text;
}

const FIRST_ROWS = 25;
const drawn = new WeakMap();

/**
 * A table in `place`. `columns` are {name, number, of(row)} where `of` gives a text or a node; long ones are cut, with a
 * button for the rest. Nothing happens when the same was drawn before.
 */
export function table(place, { caption, columns, rows, empty, tone = () => null }) {
  const cells = rows.map((row) => columns.map((column) => column.of(row)));
  const key = JSON.stringify([rows.map(tone), cells.map((line) => line.map((cell) => cell?.textContent ?? cell))]);
  const before = drawn.get(place);
  if (before?.key === key) return;
  const all = before?.all ?? false;
  drawn.set(place, { key, all });
  if (!rows.length) {
    place.replaceChildren(make("p", { class: "muted", text: empty }));
    return;
  }
  const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col", class: column.number ? "n" : null, text: column.name })));
  const lines = cells.map((line, index) => {
    const row = make("tr", { "data-tone": tone(rows[index]), hidden: !all && index >= FIRST_ROWS });
    line.forEach((cell, at) => row.append(make(at ? "td" : "th", { class: columns[at].number ? "n" : columns[at].wide ? "wide" : null, scope: at ? null : "row" }, cell ?? "not known")));
    return row;
  });
  const scroll = make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", {}, make("caption", { class: "hidden", text: caption }), make("thead", {}, head), make("tbody", {}, ...lines)));
  place.replaceChildren(scroll);
  if (rows.length > FIRST_ROWS && !all) {
    const more = make("button", { type: "button", class: "more", text: `Show all ${rows.length.toLocaleString("en-US")}` });
    more.addEventListener("click", () => {
      for (const line of lines) line.hidden = false;
      drawn.set(place, { key: drawn.get(place).key, all: true });
      more.remove();
      scroll.focus();
    });
    place.append(more);
  }
}

/** A word with a tone, told by its text and only underlined by colour. */
export const badge = (text, tone) => make("span", { class: "badge", "data-tone": tone, text });
