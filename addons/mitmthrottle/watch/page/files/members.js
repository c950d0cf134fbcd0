// The proxies that share their budgets with this one, and what each has of them.
import * as format from "./format.js";
import { attribute, el, keyed, text } from "./dom.js";

const byId = (id) => document.getElementById(id);

function makeShare() {
  return el("li", { class: "share" },
    el("span", { class: "of" }, el("span", { class: "rule-name" }), el("span", { class: "quiet per" })),
    el("span", { class: "bar" }, el("progress", { max: "1" }), el("span", { class: "percent" })),
    el("span", { class: "rates" }, el("span", { class: "measured" }), el("span", { class: "asked" })));
}

function updateShare(node, share) {
  const find = (selector) => node.querySelector(selector);
  const name = share.rule ?? "a rule not known here";
  text(find(".rule-name"), share.direction === "up" ? `${name} ↑` : name);
  const several = share.budgets > 1 ? `${format.count(share.budgets)} budgets, ` : "";
  text(find(".per"), ` per ${share.per} · ${several}${format.times(share.responses, "response", "responses")}`);
  const bar = find("progress");
  bar.value = Math.min(1, share.part ?? 0);
  attribute(bar, "aria-label", `Part of ${name}`);
  text(find(".percent"), share.part === null ? "" : percent(share.part));
  text(find(".measured"), format.rate(share.measured_bytes_per_s));
  text(find(".asked"), share.asked_bytes_per_s === null ? "no limit"
    : `of ${format.rate(share.asked_bytes_per_s)}`);
}

function percent(part) {
  const value = part * 100;
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

function make() {
  return el("li", { class: "member" },
    el("div", { class: "who" }, el("span", { class: "name" }), el("span", { class: "this quiet" }),
      el("span", { class: "state" }), el("span", { class: "by quiet" }, "policy ", el("code"))),
    el("ul", { class: "shares" }),
    el("div", { class: "rates" }, el("span", { class: "measured" }), el("span", { class: "slowed quiet" })));
}

function update(node, member) {
  const find = (selector) => node.querySelector(selector);
  text(find(".name"), member.name ?? `proxy ${member.id}`);
  text(find(".this"), member.this ? " this one" : "");
  const states = [];
  if (member.silent_s !== null) states.push(`silent for ${format.span(member.silent_s)}`);
  if (member.other_policy) states.push("another policy");
  text(find(".state"), states.join(" · "));
  attribute(node, "data-silent", member.silent_s !== null ? "" : null);
  text(find("code"), member.version || "–");
  keyed(find(".shares"), member.shares, (share) => share.id, makeShare, updateShare);
  text(node.querySelector(":scope > .rates .measured"), format.rate(member.measured_bytes_per_s));
  text(find(".slowed"), `${format.count(member.active)} slowed`);
}

export function show(store) {
  const members = store?.members ?? [];
  byId("members-section").hidden = store === null;
  keyed(byId("member-list"), members, (member) => member.id, make, update);
  if (store === null) return;
  const left = store.members_there - members.length;
  text(byId("members-more"), left > 0 && members.length
    ? `${format.times(left, "more proxy is", "more proxies are")} not shown.` : "");
  const all = members.reduce((sum, member) => sum + member.measured_bytes_per_s, 0);
  text(byId("member-count"), members.length < 2 ? "" : `${members.length}, together ${format.rate(all)}`);
  byId("member-empty").hidden = members.length > 0;
}
