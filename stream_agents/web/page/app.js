// What is shown stands in the address; numbers come over the stream, the rest is asked for in turn.

import { Charts } from "./charts.js";
import { byId, say, show } from "./dom.js";
import { scopeName, scopeParts, time } from "./format.js";
import { Live, Refused, ask } from "./live.js";
import { ScopePicker } from "./scopes.js";
import * as tables from "./tables.js";
import { Tiles } from "./tiles.js";
import { Locked, forget, held, keep } from "./token.js";

const TICK_MS = 1000;
/** Rows of a chart; the agents make them of panes of ten seconds. */
const STEPS = { 600: 10, 1800: 30, 3600: 60 };

const wanted = { scope: "all", window_seconds: "300", past_seconds: "3600" };
for (const [name, value] of new URLSearchParams(location.search)) {
  if (name === "scope") wanted.scope = value || "all";
  else if (["window_seconds", "past_seconds"].includes(name) && byId(name.split("_")[0]).querySelector(`option[value="${CSS.escape(value)}"]`)) wanted[name] = value;
}

const tiles = new Tiles(byId("tiles"));
const charts = new Charts(byId("chart-list"));
const alerts = new tables.Alerts();
let now = null;

const live = new Live((summary) => {
  now = summary.time_seconds;
  refused = summary.scope ? null : refused;
  tiles.draw(summary, scopeParts(summary.scope));
  tables.workers(summary);
  const { total, fresh, stale_partitions: stale } = summary.partitions;
  const lacking = stale.length ? ` · ${stale.length} of ${total} partitions have not been heard of lately` : "";
  say(byId("moment"), `${byId("window").selectedOptions[0].text} up to ${time(now)}${lacking}`);
  say(byId("workers-note"), fresh < total ? `Of ${fresh} of ${total} partitions.` : "");
}, drawState);

let refused = null;

const STATES = { connecting: "Connecting", lost: "Disconnected", locked: "Locked" };

function drawState({ state, since, reasons }) {
  if ((state === "locked") !== !byId("unlock").hidden) drawLock(state === "locked");
  const ready = reasons.length === 0;
  byId("live").dataset.state = state === "live" && !ready ? "unready" : state;
  say(byId("live-text"), state === "live" ? (ready ? "Live" : "Not ready") : STATES[state]);
  document.body.classList.toggle("stale", state === "lost" || state === "locked");
  const lost = `Disconnected from the agents since ${time(since / 1000)}. What is shown is ${now === null ? "nothing yet" : `of ${time(now)}`}; trying again.`;
  show(byId("trouble"), refused ? `The agents refused the question: ${refused}.` : state === "lost" ? lost : null);
  show(byId("unready"), !ready && state !== "lost" ? `The agents are not ready, and numbers may lack something: ${reasons.join("; ")}.` : null);
}

/** Who may look is asked for the agents' token: once, and again where they do not take it. */
function drawLock(locked) {
  byId("unlock").hidden = !locked;
  if (!locked) return;
  const wrong = held();
  forget();
  say(byId("unlock-why"), wrong ? "The agents do not take this token." : "These agents answer only who has their token (agents.web_token).");
  byId("unlock-token").focus();
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("unlock-token");
  if (keep(field.value.trim())) {
    for (const question of questions) question.due = 0;
    change({}, false);
  } else {
    say(byId("unlock-why"), "A token has letters, digits and signs, and no spaces.");
  }
  field.value = "";
});

const scoped = () => new URLSearchParams({ scope: wanted.scope });
/** What is asked for, how often in seconds, and who draws it. */
const questions = [
  { every: 5, path: () => "api/v1/alerts", draw: (data) => alerts.draw(data) },
  { every: 5, path: () => "api/v1/scaling", draw: tables.scaling },
  { every: 5, path: () => "api/v1/lag", draw: tables.queue },
  { every: 10, path: () => "api/v1/verdicts", draw: tables.rules },
  { every: 10, shown: true, path: () => `api/v1/history?${scoped()}&seconds=${wanted.past_seconds}&step_seconds=${STEPS[wanted.past_seconds]}`, draw: (data) => charts.history(data) },
  { every: 10, shown: true, path: () => `api/v1/history/queue?seconds=${wanted.past_seconds}`, draw: (data) => charts.queue(data) },
  { every: 30, shown: true, path: () => `api/v1/history/spend?${scoped()}`, draw: (data) => charts.spend(data) },
  { every: 30, path: () => "api/v1/scopes", draw: ({ scopes }) => picker.set(scopes) },
].map((question) => ({ ...question, due: 0, asking: false }));

async function put(question) {
  question.asking = true;
  const path = question.path();
  try {
    const data = await ask(path);
    if (path === question.path()) question.draw(data); // else something else is wanted by now
    question.due = performance.now() + question.every * 1000;
  } catch (error) {
    question.due = performance.now() + 5000;
    if (error instanceof Refused) refused = error.message;
    else if (error instanceof Locked) live.lock();
    else if (!(error instanceof TypeError || error instanceof DOMException)) console.warn(error.message);
    drawState(live.now);
  } finally {
    question.asking = false;
  }
}

function tick() {
  if (document.hidden || live.now.state === "locked") return;
  for (const question of questions) {
    if (!question.asking && performance.now() >= question.due) put(question);
  }
}

/** Take what is wanted into the address, and ask for it at once. */
function change(more, remember = true) {
  Object.assign(wanted, more);
  refused = null;
  picker.choose(wanted.scope);
  byId("window").value = wanted.window_seconds;
  byId("past").value = wanted.past_seconds;
  say(byId("title"), scopeName(wanted.scope));
  document.title = wanted.scope === "all" ? "embedwatch" : `${scopeName(wanted.scope)} – embedwatch`;
  if (remember) history.replaceState(null, "", `?${new URLSearchParams(wanted)}${location.hash}`);
  for (const question of questions) if (question.shown) question.due = 0;
  live.open(new URLSearchParams({ scope: wanted.scope, window_seconds: wanted.window_seconds }));
  tick();
}

const picker = new ScopePicker((scope) => change({ scope }));
byId("window").addEventListener("change", (event) => change({ window_seconds: event.target.value }));
byId("past").addEventListener("change", (event) => change({ past_seconds: event.target.value }));
byId("controls").addEventListener("submit", (event) => event.preventDefault());

byId("theme").value = document.documentElement.dataset.theme;
byId("theme").addEventListener("change", (event) => {
  document.documentElement.dataset.theme = event.target.value;
  try {
    localStorage.setItem("embedwatch-theme", event.target.value);
  } catch {
    // storage may be forbidden: then the choice holds for this visit
  }
  charts.redraw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.redraw());
document.addEventListener("visibilitychange", tick);

change({}, false);
setInterval(tick, TICK_MS);
