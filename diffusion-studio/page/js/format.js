/** Numbers as people read them. */

/** `4 s`, `2 min 10 s`, `1 h 5 min`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return joined(Math.floor(whole / 60), "min", whole < 600 ? whole % 60 : 0, "s");
  return joined(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
}

const joined = (large, largeUnit, small, smallUnit) =>
  small > 0 ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;

/** `0.41 s`, `12 s`: seconds a step with as many digits as matter. */
export const pace = (seconds) => `${seconds < 10 ? Number(seconds.toPrecision(2)) : Math.round(seconds)} s`;

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** `15 MB`, `6.2 GB`, in powers of 1000. */
export function bytes(count) {
  const power = count < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

/** `1 picture`, `3 pictures`. */
export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** A number without the noise of binary fractions. */
export const plain = (number) => String(Number(number.toFixed(6)));

/** The start of a text, made fit for the name of a file. */
export const fileStem = (text) =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60) || "picture";
