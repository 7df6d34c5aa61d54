// The overview: one tile a number, with what it is made of and, where it is not known, why.

import { make, say } from "./dom.js";
import { bytes, count, duration, known, ms, number, percent, quantity, usd } from "./format.js";

const join = (...parts) => parts.filter(Boolean).join(" · ");
const plural = (many, one) => `${count(many)} ${one}${many === 1 ? "" : "s"}`;

/** The budget that is used up furthest. */
const budgetOf = (today) => [...today.budgets].sort((a, b) => (b.spent_pct ?? 0) - (a.spent_pct ?? 0))[0];

function unpriced(today) {
  return join(
    today.unpriced_tokens && `${plural(today.unpriced_tokens, "token")} without a price`,
    today.wasted_nano_usd && `${usd(today.wasted_usd)} wasted`,
    today.unsettled_texts && `${plural(today.unsettled_texts, "text")} of failed calls may be billed`,
  );
}

function drainReason({ queue }) {
  if (queue.reason) return queue.reason;
  if (known(queue.arrival_rate_per_s) && queue.consume_rate_per_s <= queue.arrival_rate_per_s) return "no less arrives than is done";
  return "the rates are not known";
}

function gpusOf(summary) {
  const found = new Map();
  for (const worker of summary.workers) {
    for (const gpu of worker.gpus) found.set(gpu.uuid ?? `${worker.worker} ${gpu.index}`, gpu);
  }
  return [...found.values()];
}

function gpuTile(summary) {
  const gpus = gpusOf(summary);
  const read = gpus.map((gpu) => gpu.utilization_pct).filter(known);
  const watts = gpus.map((gpu) => gpu.power_watts).filter(known);
  const energy = summary.gpus.map((row) => row.joules_per_million_tokens).filter(known);
  const why = gpus.map((gpu) => gpu.unavailable ?? gpu.missing.utilization_pct).find(Boolean);
  return {
    value: read.length ? percent(read.reduce((a, b) => a + b, 0) / read.length) : null,
    sub: !gpus.length ? "no worker reports one" : join(
      read.length ? `mean of ${plural(read.length, "GPU")}` : why,
      watts.length ? `${number(watts.reduce((a, b) => a + b, 0))} W` : null,
      energy.length ? `${number(energy.reduce((a, b) => a + b, 0) / energy.length)} J per million tokens` : null,
    ),
  };
}

/** `metrics`: a rule on one of them marks the tile. */
const TILES = [
  {
    id: "latency", name: "Latency, p95", metrics: ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_avg_ms", "latency_max_ms", "latency_regression_pct"],
    of: ({ performance: { latency_ms: l } }) => ({
      value: known(l.p95) ? ms(l.p95) : null,
      sub: l.count ? `p50 ${ms(l.p50)} · p99 ${ms(l.p99)} · mean ${ms(l.avg)}` : "no text in this time",
    }),
  },
  {
    id: "wait", name: "Wait in the queue, p95", metrics: [],
    of: ({ performance: { queue_wait_ms: w } }) => ({
      value: known(w.p95) ? ms(w.p95) : null,
      sub: w.count ? `mean ${ms(w.avg)} · longest ${ms(w.max)}` : "no text in this time",
    }),
  },
  {
    id: "throughput", name: "Throughput", metrics: ["throughput_texts_per_s", "throughput_tokens_per_s"],
    of: ({ performance: p }) => ({
      value: known(p.throughput_texts_per_s) ? `${number(p.throughput_texts_per_s)} texts/s` : null,
      sub: known(p.throughput_tokens_per_s) ? `${number(p.throughput_tokens_per_s)} tokens/s · ${plural(p.texts, "text")}` : "no text in this time",
    }),
  },
  {
    id: "errors", name: "Error rate", metrics: ["error_rate_pct"],
    of: ({ performance: p }) => ({
      value: known(p.error_rate_pct) ? percent(p.error_rate_pct) : null,
      sub: p.texts ? join(`${count(p.errors - (p.cancelled_texts || 0))} of ${plural(p.texts, "text")}`, Object.entries(p.errors_by_class).map(([name, many]) => `${name} ${count(many)}`).join(", ")) : "no text in this time",
    }),
  },
  {
    id: "cache", name: "Cache hit rate", metrics: ["cache_hit_rate_pct", "cache_errors"],
    of: ({ cache: c }) => ({
      value: known(c.hit_rate_pct) ? percent(c.hit_rate_pct) : null,
      sub: join(
        c.available === false ? `unavailable: ${c.reason}` : null,
        known(c.hit_rate_pct) ? `${count(c.hits)} of ${count(c.hits + c.misses)} looked up` : "nothing was looked up",
        known(c.memory_bytes) ? bytes(c.memory_bytes) : null,
      ),
    }),
  },
  {
    id: "spend", name: "Spend today", metrics: ["daily_cost_usd", "budget_burn_pct", "unpriced_tokens"],
    of: ({ today }) => {
      const budget = budgetOf(today);
      return {
        value: known(today.cost_usd) ? usd(today.cost_usd) : null,
        sub: join(budget ? `${known(budget.spent_pct) ? `${percent(budget.spent_pct)} of ` : "budget "}${usd(budget.budget_usd)}` : "no budget", unpriced(today)),
        bar: budget?.spent_pct,
      };
    },
  },
  {
    id: "forecast", name: "Expected by midnight", metrics: ["daily_forecast_usd"],
    of: ({ today }) => {
      const budget = budgetOf(today);
      return {
        value: known(today.forecast_usd) ? usd(today.forecast_usd) : null,
        sub: join(known(budget?.forecast_pct) ? `${percent(budget.forecast_pct)} of ${usd(budget.budget_usd)}` : null, today.forecast_reason),
        bar: budget?.forecast_pct,
      };
    },
  },
  {
    id: "saved", name: "Saved by the cache today", metrics: [],
    of: ({ today }) => ({
      value: known(today.saved_usd) ? usd(today.saved_usd) : null,
      sub: known(today.savings_pct) ? `${percent(today.savings_pct)} of what it would have cost` : today.saved_state === "known" ? (today.cost_state === "known" ? "nothing was spent" : "the share is not known: not all spend has a price") : `${plural(today.unpriced_saved_tokens, "token")} without a price`,
    }),
  },
  {
    id: "lag", name: "Oldest text waits", metrics: ["queue_depth", "lag_seconds", "stalled_partitions"],
    of: ({ queue: q }) => ({
      value: known(q.lag_seconds) ? duration(q.lag_seconds) : null,
      sub: join(q.status, known(q.depth_texts) ? `${plural(q.depth_texts, "text")} in ${plural(q.lag_messages, "message")}` : null, q.reason),
    }),
  },
  {
    id: "drain", name: "Queue is empty in", metrics: [],
    of: (summary) => ({
      value: known(summary.queue.drain_seconds) ? duration(summary.queue.drain_seconds) : null,
      sub: join(
        known(summary.queue.arrival_rate_per_s) ? `${number(summary.queue.arrival_rate_per_s)} in, ${number(summary.queue.consume_rate_per_s)} done messages/s` : null,
        known(summary.queue.drain_seconds) ? null : drainReason(summary),
      ),
    }),
  },
  {
    id: "workers", name: "Workers", metrics: ["worker_silent_seconds", "workers_silent_seconds", "workers_over_capacity", "model_load_seconds"],
    of: ({ workers, scaling }) => {
      const running = workers.filter((worker) => worker.role !== "caller" && worker.state === "running").length;
      const silent = workers.filter((worker) => worker.state === "silent").length;
      return {
        value: workers.length ? plural(running, "running").replace("runnings", "running") : null,
        sub: join(known(scaling.desired_workers) ? `${count(scaling.desired_workers)} asked for` : workers.length ? null : "none was heard of", silent ? `${count(silent)} silent` : null, scaling.desired_workers_reason),
      };
    },
  },
  { id: "gpus", name: "GPU utilisation", metrics: ["gpu_utilization_pct"], of: gpuTile },
];

// A rule of everything says nothing of one model.
const sameScope = (scope, key) => Object.keys(scope).length === key.length && Object.entries(scope).every(([kind, name]) => key.some(([k, n]) => k === kind && n === name));

export class Tiles {
  constructor(place) {
    this.tiles = TILES.map((tile) => {
      const value = make("span", { class: "value" });
      const bar = make("progress", { max: "100", hidden: true, "aria-label": `${tile.name}: share of the budget` });
      const sub = make("span", { class: "sub" });
      const limit = make("span", { class: "limit", hidden: true });
      const element = make("div", { class: "tile", "data-tile": tile.id }, make("dt", { text: tile.name }), make("dd", {}, value, bar, sub, limit));
      place.append(element);
      return { ...tile, element, value, bar, sub, limit };
    });
  }

  draw(summary, scope) {
    for (const tile of this.tiles) {
      const { value, sub, bar } = tile.of(summary);
      say(tile.value, value ?? "not known");
      tile.value.classList.toggle("unknown", value === null);
      say(tile.sub, sub ?? "");
      tile.bar.hidden = !known(bar);
      if (known(bar)) tile.bar.value = Math.min(bar, 100);
      tile.bar.dataset.tone = bar > 100 ? "bad" : bar > 80 ? "warn" : "ok";
      const breached = summary.breached.filter((row) => tile.metrics.includes(row.metric) && sameScope(row.scope, scope));
      const worst = breached.find((row) => row.severity === "critical") ?? breached[0];
      tile.element.dataset.tone = worst ? (worst.severity === "critical" ? "bad" : "warn") : "";
      tile.limit.hidden = !worst;
      say(tile.limit, worst ? `${worst.comparison === "<" ? "below the minimum of" : "above the limit of"} ${quantity(worst.threshold, worst.unit)}` : "");
    }
  }
}
