// What is under way, what was decided, who the clients are.
import * as format from "./format.js";
import { attribute, el, keyed, text } from "./dom.js";

const KINDS = { upload: "upload", opaque: "unopened connection", websocket: "WebSocket" };
const byId = (id) => document.getElementById(id);

function address(item) {
  return el("span", { class: "url" },
    el("span", { class: "method" }, `${item.method} `),
    el("span", { class: "host" }, item.host),
    el("span", { class: "path" }, item.path));
}

function ruleLink(rule, line) {
  return el("a", { href: `#line-${line}`, class: "rule-link" }, rule);
}

// -- under way

function makeBody(body) {
  const kind = KINDS[body.kind] ? `${KINDS[body.kind]} ${body.direction === "up" ? "↑" : "↓"}` : "";
  return el("li", { class: "body" },
    el("div", { class: "what" }, address(body),
      el("span", { class: "by quiet" }, ruleLink(body.rule, body.line),
        ` · ${body.client}${kind ? ` · ${kind}` : ""}`)),
    el("div", { class: "progress" }, el("progress", { "aria-label": `${body.host}${body.path}` }),
      el("span", { class: "amount" })),
    el("div", { class: "rates" }, el("span", { class: "measured" }), el("span", { class: "asked" })));
}

function updateBody(node, body) {
  const bar = node.querySelector("progress");
  if (body.size_bytes) {
    bar.max = body.size_bytes;
    bar.value = Math.min(body.bytes, body.size_bytes);
  } else bar.removeAttribute("value");
  const whole = body.size_bytes ? ` of ${format.bytes(body.size_bytes)}` : "";
  const age = format.span(body.age_s);
  text(node.querySelector(".amount"), `${format.bytes(body.bytes)}${whole} · ${age}`);
  const waits = body.state === "waits its turn" || body.state === "delayed";
  const now = body.measured_bytes_per_s;
  text(node.querySelector(".measured"), waits ? body.state : now === null ? "…" : format.rate(now));
  text(node.querySelector(".asked"),
    body.state === "free" ? "no limit" : `of ${format.rate(body.asked_bytes_per_s)}`);
}

// -- decisions

function makeDecision(item) {
  const details = el("details", {}, el("summary", {},
    el("span", { class: "time" }, format.clock(item.time)), address(item),
    el("span", { class: "verdict" })), el("div", { class: "more" }));
  return el("li", { class: "decision" }, details);
}

function updateDecision(node, item) {
  const ended = item.outcome ? `/${item.outcome}/${item.bytes}` : "";
  const mark = `${item.rule}/${item.reason}${ended}`;
  if (node.dataset.mark === mark) return;
  node.dataset.mark = mark;
  attribute(node, "data-rule", item.rule === null ? null : "");
  const verdict = node.querySelector(".verdict");
  text(verdict, item.rule === null ? item.reason : `slowed by ${item.rule}`);
  if (item.rule !== null && item.reason.endsWith("leaves it alone"))
    text(verdict, `left alone by ${item.rule}`);
  const more = node.querySelector(".more");
  more.replaceChildren(el("p", {}, [`client ${item.client}`,
    item.status === null ? "" : `status ${item.status}`].filter(Boolean).join(" · ")));
  if (item.rule !== null)
    more.append(el("p", {}, ruleLink(item.rule, item.line), ` (line ${item.line}) holds`));
  if (item.outcome) {
    const measured = item.measured_bytes_per_s;
    const told = [`${format.bytes(item.bytes)}, ${item.outcome}`];
    if (measured !== null) told.push(`measured ${format.rate(measured)}`);
    if (item.asked_bytes_per_s !== null) told.push(`asked ${format.rate(item.asked_bytes_per_s)}`);
    more.append(el("p", {}, told.join(" · ")));
  }
  if (item.why_not.length)
    more.append(el("ul", {}, ...item.why_not.map((why) =>
      el("li", {}, el("b", {}, why.rule), `: ${why.reason}`))));
}

// -- clients

function makeClient() {
  return el("tr", {}, el("th", { scope: "row" }), el("td"), el("td"), el("td"), el("td"));
}

function updateClient(node, client) {
  const cells = node.children;
  text(cells[0], client.user ? `${client.user} (${client.address})` : client.address);
  text(cells[1], client.device ?? "–");
  text(cells[2], format.count(client.active));
  text(cells[3], `${format.count(client.matched)} of ${format.count(client.decided)}`);
  text(cells[4], format.bytes(client.bytes));
}

export function show(state) {
  keyed(byId("active-list"), state.active, (body) => body.id, makeBody, updateBody);
  keyed(byId("decision-list"), state.decisions, (item) => item.id, makeDecision, updateDecision);
  keyed(byId("client-list"), state.clients, (client) => `${client.address} ${client.user}`,
    makeClient, updateClient);
  byId("active-empty").hidden = state.active.length > 0;
  byId("decision-empty").hidden = state.decisions.length > 0;
  byId("client-empty").hidden = state.clients.length > 0;
  byId("client-list").closest(".scroll").hidden = !state.clients.length;
  if (state.reader.sees === "own") {
    text(byId("decision-empty"), "Nothing of yours has been decided yet.");
    text(byId("client-empty"), "You have not used the proxy yet.");
  }
  const hidden = state.totals.active - state.active.length;
  text(byId("active-count"), state.active.length ? String(state.active.length) : "");
  text(byId("active-empty"), hidden > 0
    ? `${format.times(hidden, "response", "responses")} of other clients.`
    : "Nothing is being slowed at the moment.");
}
