// Alerts, decisions, partitions, workers and rules as lists and tables.

import { badge, byId, make, say, table } from "./dom.js";
import { bytes, count, duration, known, number, percent, quantity, scopeWords, usd, when, words } from "./format.js";

const TONES = { critical: "bad", warning: "warn", info: "ok" };
const ACTIVE = ["firing", "acknowledged", "snoozed", "no_data"];

const orNull = (value, format) => (known(value) ? format(value) : null);

function person(act, now) {
  if (!act) return "";
  const until = known(act.until_seconds) ? ` until ${when(act.until_seconds, now)}` : "";
  return `${act.by}${until}${act.note ? `: ${act.note}` : ""}`;
}

function stand(state, now) {
  const said = {
    firing: "nobody has taken it on",
    acknowledged: `taken on by ${person(state.act, now) || "somebody"}`,
    snoozed: `snoozed by ${person(state.act, now) || "somebody"}`,
    no_data: "its data stopped while it fired",
  }[state.status] ?? words(state.status);
  return state.quiet ? `${said}; nobody is told: ${words(state.quiet.kind)} ${state.quiet.by}` : said;
}

function card(state, now, asOf) {
  const head = make("div", { class: "card-head" }, badge(state.severity, TONES[state.severity] ?? "warn"), make("strong", { text: `${state.title[0].toUpperCase()}${state.title.slice(1)}` }), make("span", { class: "muted", text: scopeWords(state.scope) }));
  const foot = `since ${when(state.since_seconds, now)} (${duration(Math.max(now - state.since_seconds, 0))}) · ${stand(state, now)}${asOf}`;
  return make("li", { class: "card", "data-tone": TONES[state.severity] ?? "warn" }, head, make("p", { text: state.summary }), make("p", { class: "muted", text: foot }));
}

function verdictCard(row) {
  const limit = `${row.comparison === "<" ? "minimum" : "limit"} ${quantity(row.threshold, row.unit)}`;
  return make("li", { class: "card", "data-tone": TONES[row.severity] ?? "warn" },
    make("div", { class: "card-head" }, badge(row.severity, TONES[row.severity] ?? "warn"), make("strong", { text: words(row.type).toLowerCase() }), make("span", { class: "muted", text: scopeWords(row.scope) })),
    make("p", { text: `${words(row.metric)} is ${quantity(row.value, row.unit)}, ${limit}. ${row.reason}` }));
}

export class Alerts {
  constructor() {
    this.told = null;
    this.drawn = "";
  }

  draw(data) {
    const now = data.time_seconds;
    const firing = data.states.filter((state) => ACTIVE.includes(state.status));
    const pending = data.states.filter((state) => state.status === "pending").length;
    // States that nobody goes on with: each says of when it is.
    const asOf = data.states_known ? "" : ` · as of ${known(data.states_as_of_seconds) ? when(data.states_as_of_seconds, now) : "a time that is not known"}`;
    const cards = data.states_known || firing.length ? firing.map((state) => card(state, now, asOf)) : data.breached.map(verdictCard);
    const text = cards.map((each) => each.textContent).join("\n");
    if (text !== this.drawn || !cards.length) byId("firing-list").replaceChildren(...cards);
    this.drawn = text;
    const soon = pending ? ` ${count(pending)} will fire if ${pending === 1 ? "it lasts" : "they last"}.` : "";
    const unknown = data.states_known ? "" : `What alerting makes of it is not known: ${data.states_reason}.`;
    const instead = unknown && !firing.length ? ` ${data.breached.length ? "These rules are breached now:" : "No rule is breached now."}` : "";
    const none = firing.length ? "" : "Nothing is firing.";
    say(byId("firing-none"), unknown ? unknown + instead : `${none}${soon}`.trim());
    byId("firing-none").dataset.tone = unknown ? "warn" : "";
    byId("firing-none").hidden = !byId("firing-none").textContent;
    this.#announce(firing, data.states_known);
    say(byId("alerts-note"), data.states_known ? "" : unknown);
    table(byId("alerts-table"), {
      caption: "What happened to alerts, the newest first", rows: data.transitions,
      empty: data.states_known ? "Nothing has happened to any alert." : "Not known.",
      tone: (row) => (["firing", "no_data"].includes(row.status) ? TONES[row.severity] : null),
      columns: [
        { name: "Time", of: (row) => when(row.at_seconds, now) },
        { name: "Alert", of: (row) => row.title },
        { name: "Of", of: (row) => scopeWords(row.scope) },
        { name: "Became", of: (row) => badge(words(row.status), row.status === "firing" ? TONES[row.severity] : row.status === "resolved" ? "ok" : "") },
        { name: "Because", of: (row) => words(row.reason) },
        { name: "Who", wide: true, of: (row) => person(row.act, now) },
      ],
    });
  }

  /** What is new, for those who hear the page: alerts only, and not those that were there at first. */
  #announce(firing, sure) {
    const now = new Map(firing.map((state) => [`${state.alert_id} ${state.episode}`, state]));
    if (this.told !== null) {
      const news = [...now].filter(([id]) => !this.told.has(id)).map(([, state]) => `Firing: ${state.title}, ${scopeWords(state.scope)}. ${state.summary}`);
      if (sure) news.push(...[...this.told].filter(([id]) => !now.has(id)).map(([, state]) => `Over: ${state.title}, ${scopeWords(state.scope)}.`));
      if (news.length) say(byId("news"), news.join(" "));
    }
    if (this.told === null || sure || now.size) this.told = now;
  }
}

export function scaling(data) {
  const now = data.time_seconds;
  const asked = known(data.desired_workers) ? `${count(data.desired_workers)} asked for now` : "Nothing is asked for now";
  const cost = known(data.cost_usd_per_hour) ? ` (${usd(data.cost_usd_per_hour)} an hour)` : "";
  say(byId("scaling-note"), `${asked}${cost}: ${data.desired_workers_reason}.`.replace("..", "."));
  table(byId("scaling-table"), {
    caption: "Decisions about the number of workers, the newest first", rows: data.decisions,
    empty: "Nothing was decided yet.",
    tone: (row) => (row.at_capacity ? "warn" : null),
    columns: [
      { name: "Time", of: (row) => when(row.time_seconds, now) },
      { name: "Asked for", number: true, of: (row) => orNull(row.desired_workers, count) },
      { name: "Wanted", number: true, of: (row) => orNull(row.wanted_workers, count) },
      { name: "Running", number: true, of: (row) => orNull(row.running_workers, count) },
      { name: "Cause", of: (row) => words(row.cause) },
      { name: "Limited by", of: (row) => (row.limited_by ? words(row.limited_by) : "nothing") },
      { name: "Waits", number: true, of: (row) => orNull(row.lag_seconds, duration) },
      { name: "Reason", wide: true, of: (row) => row.reason },
    ],
  });
}

const LAG_TONES = { OK: "ok", REWOUND: "warn", STALLED: "bad", STOPPED: "bad", UNKNOWN: "warn" };
const WORST = ["STOPPED", "STALLED", "UNKNOWN", "REWOUND", "OK"];

export function queue(data) {
  const rows = [...data.partitions].sort((a, b) => WORST.indexOf(a.status) - WORST.indexOf(b.status) || (b.lag_messages ?? -1) - (a.lag_messages ?? -1) || a.partition - b.partition);
  say(byId("queue-note"), `Group ${data.group}, topic ${data.topic}: ${data.status}${data.reason ? `, ${data.reason}` : ""}.`);
  table(byId("queue-table"), {
    caption: "Lag by partition, the worst first", rows, empty: "No sample of any partition yet.",
    tone: (row) => (row.status === "OK" ? null : LAG_TONES[row.status]),
    columns: [
      { name: "Partition", number: true, of: (row) => count(row.partition) },
      { name: "Status", of: (row) => badge(row.status, LAG_TONES[row.status]) },
      { name: "Messages", number: true, of: (row) => orNull(row.lag_messages, count) },
      { name: "Texts", number: true, of: (row) => orNull(row.lag_texts, count) },
      { name: "Oldest waits", number: true, of: (row) => orNull(row.oldest_age_seconds, duration) },
      { name: "In a second", number: true, of: (row) => orNull(row.arrival_rate_per_s, number) },
      { name: "Done a second", number: true, of: (row) => orNull(row.consume_rate_per_s, number) },
      { name: "Empty in", number: true, of: (row) => orNull(row.drain_seconds, duration) },
      { name: "Why", wide: true, of: (row) => row.reason ?? "" },
    ],
  });
}

export function workers(summary) {
  const energy = new Map(summary.gpus.map((row) => [row.uuid, row]));
  const rows = summary.workers.flatMap((worker) => (worker.gpus.length ? worker.gpus : [null]).map((gpu) => ({ worker, gpu })));
  const withoutGpu = (gpu, name) => (gpu ? gpu.missing[name] ?? gpu.unavailable ?? null : "no GPU");
  table(byId("workers-table"), {
    caption: "Workers and the GPUs that they report", rows, empty: "No worker was heard of.",
    tone: ({ worker }) => (worker.state === "silent" ? "bad" : null),
    columns: [
      { name: "Worker", of: ({ worker }) => worker.worker },
      { name: "Model", of: ({ worker }) => worker.model },
      { name: "State", of: ({ worker }) => badge(worker.state === "silent" ? `silent for ${duration(worker.silent_seconds)}` : worker.state, worker.state === "silent" ? "bad" : "") },
      { name: "In flight", number: true, of: ({ worker }) => count(worker.in_flight_texts) },
      { name: "Model load", number: true, of: ({ worker }) => orNull(worker.model_load_seconds, duration) },
      { name: "Memory", number: true, of: ({ worker }) => orNull(worker.resident_bytes, bytes) },
      { name: "GPU", of: ({ gpu }) => (gpu ? gpu.name ?? gpu.uuid ?? gpu.unavailable : "none") },
      { name: "Busy", number: true, of: ({ gpu }) => orNull(gpu?.utilization_pct, percent) ?? withoutGpu(gpu, "utilization_pct") },
      { name: "GPU memory", number: true, of: ({ gpu }) => (known(gpu?.memory_used_bytes) ? `${bytes(gpu.memory_used_bytes)}${known(gpu.memory_total_bytes) ? ` of ${bytes(gpu.memory_total_bytes)}` : ""}` : withoutGpu(gpu, "memory_used_bytes")) },
      { name: "Power", number: true, of: ({ gpu }) => orNull(gpu?.power_watts, (watts) => `${number(watts)} W`) ?? withoutGpu(gpu, "power_watts") },
      { name: "J per million tokens", number: true, of: ({ gpu }) => {
        const row = energy.get(gpu?.uuid);
        return orNull(row?.joules_per_million_tokens, number) ?? row?.reason ?? withoutGpu(gpu, "energy_joules");
      } },
    ],
  });
}

const JUDGED = { breached: "bad", no_data: "warn", inconclusive: "", ok: "ok" };

export function rules(data) {
  table(byId("rules-table"), {
    caption: "Every rule's judgement now, the breached ones first", rows: data.verdicts,
    empty: "Nothing was judged yet.",
    tone: (row) => (row.judgement === "breached" ? TONES[row.severity] : null),
    columns: [
      { name: "Metric", of: (row) => words(row.metric) },
      { name: "Of", of: (row) => scopeWords(row.scope) },
      { name: "Says", of: (row) => badge(words(row.judgement), row.judgement === "breached" ? TONES[row.severity] : JUDGED[row.judgement]) },
      { name: "Value", number: true, of: (row) => orNull(row.value, (value) => quantity(value, row.unit)) },
      { name: "Limit", number: true, of: (row) => `${row.comparison} ${quantity(row.threshold, row.unit)}` },
      { name: "Over", number: true, of: (row) => (row.window_seconds ? duration(row.window_seconds) : "now") },
      { name: "Samples", number: true, of: (row) => count(row.samples) },
      { name: "Reason", wide: true, of: (row) => row.reason },
    ],
  });
}
