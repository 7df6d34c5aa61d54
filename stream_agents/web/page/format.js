// Numbers in words. null is "not known" everywhere and never 0.

export const UNKNOWN = "not known";

const cache = new Map();
const small = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 2 });

function fixed(digits) {
  if (!cache.has(digits)) {
    cache.set(digits, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return cache.get(digits);
}

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** Three significant digits or whole thousands. */
export function number(value) {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 100) return fixed(0).format(value);
  if (size >= 0.1) return fixed(size >= 10 ? 1 : 2).format(value);
  return small.format(value);
}

export const count = (value) => (known(value) ? fixed(0).format(value) : UNKNOWN);
export const percent = (value) => (known(value) ? `${number(value)} %` : UNKNOWN);

export function ms(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 10_000) return duration(value / 1000);
  return `${number(value >= 100 ? Math.round(value) : value)} ms`;
}

/** The two largest units. */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 10) return `${fixed(seconds === 0 ? 0 : 1).format(seconds)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [size, name] of [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    const many = Math.floor(rest / size);
    if (many || parts.length) parts.push([many, name]);
    rest -= many * size;
  }
  return parts.slice(0, 2).filter(([many], index) => many || !index).map(([many, name]) => `${many} ${name}`).join(" ");
}

export function usd(value) {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  const digits = size === 0 || size >= 1 ? 2 : Math.min(9, 2 - Math.floor(Math.log10(size)));
  return `${value < 0 ? "−" : ""}$${fixed(digits).format(size)}`;
}

export const nanoUsd = (value) => usd(known(value) ? value / 1e9 : null);

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  for (const [size, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${fixed(1).format(value / size)} ${name}`;
  }
  return `${fixed(0).format(value)} B`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const short = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const time = (seconds) => (known(seconds) ? clock.format(seconds * 1000) : UNKNOWN);
export const minute = (seconds) => short.format(seconds * 1000);

/** With the date where it is not the day of `now`. */
export function when(seconds, now) {
  if (!known(seconds)) return UNKNOWN;
  const same = new Date(seconds * 1000).toDateString() === new Date(now * 1000).toDateString();
  return (same ? clock : dated).format(seconds * 1000);
}

export const words = (name) => String(name).replaceAll("_", " ");

/** A value in the unit that a rule judges in. */
export function quantity(value, unit) {
  if (!known(value)) return UNKNOWN;
  if (unit === "USD") return usd(value);
  if (unit === "ms") return ms(value);
  if (unit === "s") return duration(value);
  if (unit === "%") return percent(value);
  return `${number(value)} ${unit}`.trim();
}

/** `model=a,tenant=b%2Cc` as [["model", "a"], ["tenant", "b,c"]]. */
export function scopeParts(key) {
  if (key === "all") return [];
  return key.split(",").map((part) => {
    const at = part.indexOf("=");
    const name = part.slice(at + 1);
    try {
      return [part.slice(0, at), decodeURIComponent(name)];
    } catch {
      return [part.slice(0, at), name];
    }
  });
}

export function scopeName(key) {
  if (key === "all") return "Everything";
  if (key === "scope=other") return "Others, above the cap on scopes";
  return scopeParts(key).map(([kind, name]) => `${kind} ${name}`).join(", ");
}

export const scopeWords = (scope) => Object.entries(scope).map(([kind, name]) => `${kind} ${name}`).join(", ") || "everything";
