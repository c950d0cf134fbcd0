// Asked beside measured: two lines that differ in hue, in lightness and in dashes.
import * as format from "./format.js";
import { el, text } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 60;
const SVG = "http://www.w3.org/2000/svg";
// What a rule lets through while it is switched off would press everything else to the floor.
const MOST_OVER_ASKED = 2.5;

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export class Plot {
  constructor() {
    this.asked = [];
    this.measured = [];
    this.top = el("span", { class: "top", "aria-hidden": "true" });
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line measured" });
    this.limit = svg("path", { class: "line asked" });
    this.picture = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
    });
    const middle = svg("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}` });
    this.picture.append(middle, this.area, this.line, this.limit);
    this.node = el("div", { class: "plot" }, this.picture, this.top);
  }

  // `shown` samples, one a second; what is older is forgotten.
  draw(asked, measured, shown) {
    this.asked = [...this.asked, ...asked].slice(-shown);
    this.measured = [...this.measured, ...measured].slice(-shown);
    this.shown = shown;
    this.trace();
  }

  trace() {
    const asked = this.asked.filter((value) => value !== null);
    const mostAsked = Math.max(0, ...asked);
    const mostMeasured = Math.max(0, ...this.measured);
    const bound = mostAsked > 0 ? mostAsked * MOST_OVER_ASKED : mostMeasured;
    const most = Math.max(mostAsked, Math.min(mostMeasured, bound)) * 1.12 || 1;
    const step = WIDTH / (this.shown - 1);
    const x = (index, length) => (WIDTH - (length - 1 - index) * step).toFixed(1);
    const y = (value) => (HEIGHT - (Math.min(value, most) / most) * (HEIGHT - 2) - 1).toFixed(1);

    let line = "";
    this.measured.forEach((value, index) => {
      line += `${line ? "L" : "M"}${x(index, this.measured.length)} ${y(value)}`;
    });
    this.line.setAttribute("d", line);
    const first = x(0, this.measured.length);
    this.area.setAttribute("d", line ? `${line}L${WIDTH} ${HEIGHT}L${first} ${HEIGHT}Z` : "");

    let limit = "";
    let before = null;
    this.asked.forEach((value, index) => {
      const at = x(index, this.asked.length);
      if (value) limit += before ? `H${at}V${y(value)}` : `M${at} ${y(value)}h0.5`;
      before = value;
    });
    this.limit.setAttribute("d", limit);

    const over = mostMeasured > most ? `, at most ${format.rate(mostMeasured)}` : "";
    text(this.top, this.measured.length ? `${format.rate(most / 1.12)}${over}` : "");
    this.picture.setAttribute("aria-label", this.said(mostMeasured));
  }

  said(mostMeasured) {
    if (!this.measured.length) return "Nothing in the last minutes";
    const asked = this.asked.at(-1);
    const wanted = asked ? `, asked ${format.rate(asked)}` : "";
    const now = format.rate(this.measured.at(-1));
    return `Last minutes: now ${now}${wanted}, at most ${format.rate(mostMeasured)}`;
  }
}
