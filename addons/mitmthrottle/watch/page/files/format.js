// Quantities as people read them: the units of a policy file, three digits.

function scaled(value, units) {
  let step = 0;
  while (step + 1 < units.length && Math.abs(value) >= 999.5) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${units[step]}`;
}

export const rate = (bytesPerS) =>
  bytesPerS === null || bytesPerS === undefined
    ? "no limit"
    : scaled(bytesPerS * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);

export const bytes = (count) => scaled(count, ["B", "kB", "MB", "GB", "TB"]);

export const count = (number) => number.toLocaleString("en");

export function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export const clock = (unixTime) =>
  new Date(unixTime * 1000).toLocaleTimeString("en-GB", { hour12: false });

export const times = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
