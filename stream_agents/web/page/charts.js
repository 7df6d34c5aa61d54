// Charts over time. uPlot draws; beside each picture stand a sentence, a legend with values and a table.

import { make, say } from "./dom.js";
import { duration, known, minute, ms, number, percent, time, usd, words } from "./format.js";

const HEIGHT = 176;
const PHASES = ["cache_lookup", "tokenise", "embed", "cache_write", "publish"];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const whole = (value) => (known(value) ? number(value) : "not known");

/** `colour` is the number of a variable of the style sheet, so that light and dark have their own. */
const SPECS = [
  {
    id: "latency", title: "Latency of a text", unit: "ms", format: ms, source: "history",
    lines: [
      { name: "p50", colour: 1, of: (row) => row.latency_ms.p50 },
      { name: "p95", colour: 2, width: 2, of: (row) => row.latency_ms.p95 },
      { name: "p99", colour: 4, dash: [5, 4], of: (row) => row.latency_ms.p99 },
    ],
  },
  {
    id: "phases", title: "Where a batch's time goes", unit: "ms a batch", format: ms, source: "history", stacked: true,
    lines: PHASES.map((phase, at) => ({ name: words(phase), colour: [5, 3, 1, 6, 2][at], of: (row) => row.phase_ms_per_batch[phase] })),
  },
  {
    id: "throughput", title: "Throughput", unit: "texts/s", format: whole, source: "history", fill: true,
    lines: [{ name: "texts/s", colour: 1, width: 2, of: (row) => row.throughput_texts_per_s }],
  },
  {
    id: "hits", title: "Cache hits and errors", unit: "%", format: percent, source: "history", most: 100,
    lines: [
      { name: "hit rate", colour: 3, width: 2, of: (row) => row.cache_hit_rate_pct },
      { name: "error rate", colour: 4, dash: [5, 4], of: (row) => row.error_rate_pct },
    ],
  },
  { id: "spend", title: "Spend today against the budget", unit: "USD", format: usd, source: "spend", lines: [
    { name: "spent", colour: 1, width: 2 },
    { name: "expected", colour: 1, dash: [3, 4] },
    { name: "budget", colour: 4, dash: [8, 4] },
  ] },
  {
    id: "lag", title: "Oldest text waits", unit: "s", format: duration, source: "queue", fill: true,
    lines: [{ name: "wait", colour: 2, width: 2, of: (row) => row.lag_seconds }],
  },
  {
    id: "depth", title: "Texts that wait", unit: "texts", format: whole, source: "queue", fill: true,
    lines: [{ name: "texts", colour: 5, width: 2, of: (row) => row.depth_texts }],
  },
  {
    id: "workers", title: "Workers", unit: "workers", format: whole, source: "queue", steps: true,
    lines: [
      { name: "running", colour: 1, width: 2, of: (row) => row.workers },
      { name: "asked for", colour: 4, dash: [5, 4], of: (row) => row.desired_workers },
    ],
  },
];

/** Distances of the lines of a grid where fractions, or tens, would be odd. */
const WHOLE = [1, 2, 5].flatMap((first) => [...Array(9).keys()].map((zeros) => first * 10 ** zeros)).sort((a, b) => a - b);
const STEPS = {
  workers: WHOLE,
  texts: WHOLE,
  s: [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 604_800],
};

class Chart {
  constructor(spec, place) {
    this.spec = spec;
    this.times = [];
    this.values = spec.lines.map(() => []);
    this.legend = spec.lines.map((line) => make("span", { class: "legend-value" }));
    const id = `chart-${spec.id}`;
    const legend = make("ul", { class: "legend" }, ...spec.lines.map((line, at) => make("li", {},
      make("span", { class: "swatch", "data-colour": String(line.colour), "data-dash": line.dash ? "" : null, "aria-hidden": "true" }), `${line.name} `, this.legend[at])));
    this.plot = make("div", { class: "plot", role: "img", "aria-label": spec.title });
    this.empty = make("p", { class: "muted nothing", hidden: true });
    this.table = make("div", { class: "scroll", role: "region", "aria-label": `${spec.title}, as a table`, tabindex: "0" });
    this.details = make("details", {}, make("summary", {}, "Table", make("span", { class: "hidden", text: `: ${spec.title}` })), this.table);
    this.details.addEventListener("toggle", () => this.#tabulate());
    place.append(make("figure", { class: "chart", id, "aria-labelledby": `${id}-title` },
      make("figcaption", {}, make("h3", { id: `${id}-title`, text: spec.title }), legend), this.plot, this.empty, this.details));
    new ResizeObserver(() => this.chart?.setSize({ width: this.plot.clientWidth, height: HEIGHT })).observe(this.plot);
  }

  set({ times, values, reason, from, until }) {
    this.times = times;
    this.values = values;
    this.range = [from, until];
    const any = values.some((line) => line.some(known));
    this.empty.hidden = any;
    this.plot.hidden = !any;
    say(this.empty, any ? "" : reason ?? "Nothing was measured in this time.");
    this.plot.setAttribute("aria-label", this.#sentence());
    this.#values(null);
    this.#tabulate();
    if (!any) return;
    if (this.chart) this.chart.setData(this.#drawn());
    else this.#draw();
  }

  redraw() {
    this.chart?.destroy();
    this.chart = null;
    if (this.times.length && !this.plot.hidden) this.#draw();
  }

  /** What is seen, in words. */
  #sentence() {
    const parts = this.spec.lines.map((line, at) => {
      const found = this.values[at].filter(known);
      if (!found.length) return `${line.name} not known`;
      const format = this.spec.format;
      return `${line.name} last ${format(found.at(-1))}, lowest ${format(Math.min(...found))}, highest ${format(Math.max(...found))}`;
    });
    return `${this.spec.title}: ${parts.join("; ")}`;
  }

  #values(index) {
    this.spec.lines.forEach((line, at) => {
      // The row that is open may have nothing yet: the latest that is known speaks for it.
      const value = index === null ? this.values[at].findLast(known) : this.values[at][index];
      say(this.legend[at], known(value) ? this.spec.format(value) : "–");
    });
  }

  #tabulate() {
    if (!this.details.open) return;
    const head = make("tr", {}, make("th", { scope: "col", text: "Time" }), ...this.spec.lines.map((line) => make("th", { scope: "col", class: "n", text: line.name })));
    const rows = this.times.map((at, index) => make("tr", {}, make("th", { scope: "row", text: time(at) }),
      ...this.values.map((line) => make("td", { class: "n", text: this.spec.format(line[index] ?? null) }))));
    this.table.replaceChildren(make("table", {}, make("caption", { class: "hidden", text: this.spec.title }), make("thead", {}, head), make("tbody", {}, ...rows.reverse())));
  }

  /** Stacked lines are drawn as sums, the highest first, each over the one before. */
  #drawn() {
    if (!this.spec.stacked) return [this.times, ...this.values];
    const sums = [];
    this.values.forEach((line, at) => sums.push(line.map((value, index) => {
      const below = at ? sums[at - 1][index] : known(value) ? 0 : null;
      return known(value) || known(below) ? (value ?? 0) + (below ?? 0) : null;
    })));
    return [this.times, ...sums.reverse()];
  }

  #draw() {
    const { spec } = this;
    const ink = css("--muted");
    const grid = { stroke: css("--grid"), width: 1 };
    const lines = spec.stacked ? [...spec.lines].reverse() : spec.lines;
    const axis = { stroke: ink, grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    this.chart = new uPlot({
      width: this.plot.clientWidth || 400,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 20, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { size: 6 }, y: false, sync: spec.source === "spend" ? undefined : { key: "time" } },
      scales: {
        x: { time: true, range: () => this.range },
        y: { range: (_, low, high) => [0, spec.most ?? (high > 0 ? high * 1.1 : 1)] },
      },
      axes: [
        { ...axis, size: 24, space: 64, values: (_, splits) => splits.map(minute) },
        { ...axis, size: 62, space: 32, incrs: STEPS[spec.unit],
          values: (_, splits) => splits.map((value) => spec.format(value)) },
      ],
      series: [{}, ...lines.map((line) => ({
        label: line.name,
        stroke: css(`--c${line.colour}`),
        width: line.width ?? 1.5,
        dash: line.dash,
        fill: spec.stacked ? css(`--c${line.colour}`) : spec.fill ? css(`--f${line.colour}`) : undefined,
        paths: spec.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: false },
      }))],
      hooks: { setCursor: [(chart) => this.#values(chart.cursor.idx ?? null)] },
    }, this.#drawn(), this.plot);
  }
}

/** Times that nobody looked at make a gap, not a line across. */
function withGaps(rows, step) {
  const found = [];
  for (const row of rows) {
    const before = found.at(-1);
    if (before && row.time_seconds - before.time_seconds > 2.5 * step) found.push({ time_seconds: before.time_seconds + step });
    found.push(row);
  }
  return found;
}

export class Charts {
  constructor(place) {
    this.charts = SPECS.map((spec) => new Chart(spec, place));
  }

  #of(source) {
    return this.charts.filter((chart) => chart.spec.source === source);
  }

  history({ rows, seconds, time_seconds: now }) {
    // A row stands at its middle.
    const times = rows.map((row) => Math.min((row.start_seconds + row.end_seconds) / 2, now));
    for (const chart of this.#of("history")) {
      chart.set({ times, values: chart.spec.lines.map((line) => rows.map((row) => line.of(row))), from: now - seconds, until: now });
    }
  }

  queue({ rows, seconds, sample_seconds: step, time_seconds: now }) {
    const found = withGaps(rows, step);
    for (const chart of this.#of("queue")) {
      chart.set({
        times: found.map((row) => row.time_seconds),
        values: chart.spec.lines.map((line) => found.map((row) => line.of(row) ?? null)),
        from: now - seconds, until: now,
        reason: rows.length ? "Not known in this time." : "These agents have not looked yet: they began a moment ago.",
      });
    }
  }

  spend(data) {
    const end = data.day_end_seconds;
    const budget = data.budgets.length ? Math.max(...data.budgets.map((row) => row.budget_usd)) : null;
    const now = data.time_seconds;
    const points = data.points.map((point) => [point.time_seconds, point.cost_nano_usd / 1e9]);
    const times = [...new Set([data.day_start_seconds, ...points.map(([at]) => at), now, end])].sort((a, b) => a - b);
    const spentAt = new Map(points);
    const spent = times.map((at) => spentAt.get(at) ?? null);
    const expected = times.map((at) => {
      if (!known(data.forecast_usd) || !points.length) return null;
      return at === now ? points.at(-1)[1] : at === end ? data.forecast_usd : null;
    });
    for (const chart of this.#of("spend")) {
      chart.set({
        times, values: [spent, expected, times.map(() => (points.length ? budget : null))], from: data.day_start_seconds, until: end,
        reason: "Nothing that was embedded today has a price.",
      });
    }
  }

  redraw() {
    for (const chart of this.charts) chart.redraw();
  }
}

