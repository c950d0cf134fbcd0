// The rules: what each does now, asked beside measured, and its switch.
import * as format from "./format.js";
import { attribute, el, keyed, text } from "./dom.js";
import { Plot } from "./plot.js";

const plots = new Map();

export function forget() {
  plots.clear();
  document.getElementById("rule-list").replaceChildren();
}

function make(rule, onSwitch) {
  const plot = new Plot();
  plots.set(rule.name, plot);
  const knob = el("button", { type: "button", role: "switch", class: "switch" });
  knob.append(el("span", { class: "track", "aria-hidden": "true" }), el("span", { class: "word" }));
  knob.addEventListener("click", () => onSwitch(rule.name, knob));
  const node = el("li", { class: "rule" });
  node.append(
    el("div", { class: "rule-text" },
      el("h3", {}, el("a", { class: "name" }), el("span", { class: "state" })),
      el("p", { class: "says" }),
      el("p", { class: "for quiet" })),
    plot.node,
    el("dl", { class: "figures" },
      figure("asked", "asked"), figure("measured", "measured"), figure("active", "now"),
      figure("matched", "so far")),
    knob);
  return node;
}

function figure(name, word) {
  return el("div", { class: `figure ${name}` }, el("dt", {}, word), el("dd", {}, "–"));
}

function states(rule) {
  const found = [];
  if (rule.switched_off) found.push("switched off");
  else if (rule.changed) found.push("changed by command");
  if (rule.reverts_in_s !== null) found.push(`${format.span(rule.reverts_in_s)} more`);
  if (rule.stage) {
    const { number, of, ends_in_s: ends } = rule.stage;
    const until = ends === null ? "" : `, ${format.span(ends)} more`;
    found.push(number === null ? "after the last stage" : `stage ${number} of ${of}${until}`);
  }
  if (!rule.in_force) found.push("not its time");
  return found.join(" · ");
}

// The window grows with what there is, so that a proxy's first minute is not a speck at the edge.
function shownSamples({ last, kept }) {
  return Math.min(kept, Math.max(60, last));
}

function update(node, rule, reader, shown) {
  const find = (selector) => node.querySelector(selector);
  const plot = plots.get(rule.name);
  plot.draw(rule.asked, rule.measured, shown);
  const name = find(".name");
  text(name, rule.name);
  attribute(name, "href", `#line-${rule.line}`);
  text(find(".state"), states(rule));
  text(find(".says"), rule.says_now);
  const where = rule.hosts === null ? "any host" : rule.hosts.join(", ");
  text(find(".for"), `line ${rule.line} · ${where}`);
  const busy = rule.active > 0 || rule.measured_bytes_per_s > 0;
  const free = rule.asked_bytes_per_s === null;
  text(find(".asked dd"), busy ? (free ? "no limit" : format.rate(rule.asked_bytes_per_s)) : "–");
  text(find(".measured dd"), busy ? format.rate(rule.measured_bytes_per_s) : "–");
  text(find(".active dd"), format.count(rule.active));
  text(find(".matched dd"), `${format.count(rule.matched)}, ${format.bytes(rule.bytes)}`);
  attribute(node, "data-off", rule.switched_off ? "" : null);
  attribute(node, "data-busy", busy ? "" : null);
  const knob = find(".switch");
  attribute(knob, "aria-checked", String(!rule.switched_off));
  attribute(knob, "aria-label", `Rule ${rule.name}`);
  attribute(knob, "aria-disabled", reader.may_switch ? null : "true");
  attribute(knob, "title", reader.may_switch ? null : `Read-only: ${reader.why_not}`);
  text(knob.querySelector(".word"), rule.switched_off ? "off" : "on");
}

export function show(state, onSwitch) {
  const shown = shownSamples(state.samples);
  text(document.getElementById("window"), `last ${format.span(shown * state.samples.every_s)}`);
  keyed(
    document.getElementById("rule-list"),
    state.rules,
    (rule) => rule.name,
    (rule) => make(rule, onSwitch),
    (node, rule) => update(node, rule, state.reader, shown),
  );
  const left = (state.policy ? state.policy.rules : 0) - state.rules.length;
  text(document.getElementById("rules-more"),
    left > 0 ? `${format.times(left, "more rule is", "more rules are")} not shown.` : "");
}
