// Numbers as people read them. Shares are 0 to 1, times seconds; what is not known is a dash.

export const UNKNOWN = "–";

const isMissing = (value) => value === null || value === undefined || Number.isNaN(value);

/** `52.3%` */
export function percent(share, digits = 1) {
  return isMissing(share) ? UNKNOWN : `${(100 * share).toFixed(digits)}%`;
}

/** `52.3% [48.3, 56.3]` */
export function percentInterval(share, low, high) {
  if (isMissing(share)) return UNKNOWN;
  return `${percent(share)} ${bracket(low, high)}`.trim();
}

/** `+2.9 points`, of a difference between two shares. */
export function points(difference) {
  return isMissing(difference) ? UNKNOWN : `${signed(difference)} points`;
}

/** `+2.9 [2.3, 3.4]`, in percentage points. */
export function pointsInterval(difference, low, high) {
  return isMissing(difference) ? UNKNOWN : `${signed(difference)} ${bracket(low, high)}`.trim();
}

/** `+2.9 [2.3, 3.4] (90%)`: the interval with the level at which it was made. */
export function leveledInterval(difference, low, high, level) {
  const text = pointsInterval(difference, low, high);
  return isMissing(difference) || isMissing(level) ? text : `${text} (${levelText(level)})`;
}

/** `95%`, `97.5%`: the level of an interval. */
export function levelText(level) {
  return `${Number((100 * level).toPrecision(4))}%`;
}

function signed(difference) {
  const text = (100 * difference).toFixed(1);
  return Number(text) > 0 ? `+${text}` : text.replace("-", "−").replace(/^−0\.0$/, "0.0");
}

function bracket(low, high) {
  if (isMissing(low) || isMissing(high)) return "";
  return `[${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`.replaceAll("-", "−");
}

/** `12,345` */
export function count(number) {
  return isMissing(number) ? UNKNOWN : Math.round(number).toLocaleString("en-GB");
}

/** `1.2 M`, three digits at most before the unit. */
export function compact(number) {
  if (isMissing(number)) return UNKNOWN;
  for (const [limit, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (number >= limit)
      return `${(number / limit).toFixed(number >= 100 * limit ? 0 : 1).replace(/\.0$/, "")} ${unit}`;
  }
  return String(Math.round(number));
}

/** `8 s`, `4 min`, `2 h 05 min`, `3 d 4 h` */
export function duration(seconds) {
  if (isMissing(seconds)) return UNKNOWN;
  if (seconds === 0) return "0 s";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A number with as many digits as it needs: `0.0123`, `12.3`, `12,345` */
export function number(value) {
  if (isMissing(value)) return UNKNOWN;
  if (Number.isInteger(value)) return value.toLocaleString("en-GB");
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** `2026-11-26 13:05`, of an ISO time, in the reader's zone. */
export function dateTime(text) {
  const date = new Date(text);
  if (Number.isNaN(date.valueOf())) return text ?? UNKNOWN;
  const two = (value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Text cut to `length` characters, with an ellipsis. */
export function shorten(text, length) {
  const characters = Array.from(text ?? "");
  return characters.length <= length ? (text ?? "") : `${characters.slice(0, length - 1).join("")}…`;
}
