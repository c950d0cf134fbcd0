// The live page: asks for the state, shows it, and switches rules.
import * as format from "./format.js";
import { attribute, el, text } from "./dom.js";
import * as lists from "./lists.js";
import * as members from "./members.js";
import * as rules from "./rules.js";

const byId = (id) => document.getElementById(id);
// Each question is a flow of its own where the page is served through the proxy.
const EVERY_MS = location.hostname === "throttle.proxy" ? 2000 : 1000;
const SLOWEST_MS = 4000;
const TIMEOUT_MS = 5000;

let state = null;
let since = 0;
let misses = 0;
let timer = 0;
let shownPolicy = null;
let shownNotices = "";

function say(...parts) {
  byId("said").replaceChildren(...parts);
}

// -- asking

async function ask() {
  clearTimeout(timer);
  let wait = EVERY_MS;
  try {
    const answer = await fetch(`/api/state?since=${since}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(await answer.text());
    const news = await answer.json();
    if (state && news.start !== state.start && since > 0) {
      // The proxy was started anew: its samples are other ones.
      state = null;
      since = 0;
      shownPolicy = null;
      rules.forget();
      say("The proxy was started anew.");
      misses = 0;
      wait = 0;
    } else {
      if (misses > 1) say("The proxy answers again.");
      misses = 0;
      state = news;
      since = news.samples.last;
      await show();
    }
    connection("live", "live");
  } catch (fault) {
    misses += 1;
    wait = Math.min(EVERY_MS * 2 ** misses, SLOWEST_MS);
    if (misses === 2) say("The proxy does not answer; what is shown is old.");
    if (misses > 1) connection("lost", "no answer, trying again");
    else if (!(fault instanceof TypeError)) console.info(String(fault));
  }
  if (!document.hidden) timer = setTimeout(ask, wait);
}

function connection(name, words) {
  const node = byId("connection");
  attribute(node, "data-state", name);
  attribute(document.body, "data-state", name);
  text(node, words);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else ask();
});

// -- showing

async function show() {
  const { policy, totals } = state;
  text(byId("policy-name"), policy ? policy.name : "no policy");
  const figures = {
    active: format.count(totals.active),
    rate: format.rate(totals.measured_bytes_per_s),
    matched: format.count(totals.matched),
    requests: format.count(totals.requests),
  };
  for (const [name, value] of Object.entries(figures))
    text(document.querySelector(`[data-of="${name}"]`), value);
  document.title = `${totals.active ? `${totals.active} slowed · ` : ""}mitmthrottle`;
  notices();
  rules.show(state, onSwitch);
  members.show(state.store);
  lists.show(state);
  const where = state.proxy.length ? `Proxy at ${state.proxy.join(", ")}. ` : "";
  text(byId("about"), `${where}Running for ${format.span(state.uptime_s)}.`);
  const version = policy ? `${state.start}/${policy.version.replace("+", "")}/${policy.reloads}` : "";
  if (version !== shownPolicy) {
    shownPolicy = version;
    await showPolicy();
  }
}

function notice(kind, title, ...more) {
  return el("div", { class: `notice ${kind}` }, el("p", {}, el("strong", {}, title)), ...more);
}

const MEANWHILE = {
  split: "Each proxy goes on with its last part of what is shared.",
  open: "What is shared is not limited meanwhile.",
  block: "New responses that would share something are answered with 503.",
};

function notices() {
  const away = state.store !== null && state.store.away_s !== null;
  const mark = JSON.stringify([away && Math.round(state.store.away_s), state.store?.processes, state.store?.same_policy, state.hint, state.policy?.refused, state.failures,
    state.reader.why_not, state.hint && state.hosts_seen.map((each) => each.host),
    state.untrusting.map((each) => each.host)]);
  if (mark === shownNotices) return;
  shownNotices = mark;
  const found = [];
  if (away)
    found.push(notice("warn", `The shared store is away for ${Math.round(state.store.away_s)} s.`,
      el("p", {}, MEANWHILE[state.store.meanwhile])));
  else if (state.store)
    found.push(notice("quiet-notice", state.store.processes === 1
      ? "Shares its budgets through a store; no other proxy does now."
      : `Shares its budgets with ${format.times(state.store.processes - 1, "other proxy", "other proxies")}.`));
  if (state.store && !state.store.same_policy)
    found.push(notice("warn", "The proxies do not run the same policy.", el("p", {}, `${otherPolicies()}
      another version than this one. Each slows by its own, and applies it to its part of what is shared.`)));
  const refused = state.policy?.refused;
  if (refused)
    found.push(notice("warn", `The newer version of ${state.policy.file} is refused since ${
      format.clock(refused.time)}; the last good one stays in force.`,
    el("ul", {}, ...refused.faults.map((fault) => el("li", {}, el("code", {}, fault))))));
  if (state.hint) found.push(notice("hint", state.hint.text, ...hintDetails()));
  if (state.untrusting.length && state.hint?.kind !== "untrusted")
    found.push(notice("hint", "Some clients refuse the proxy's certificate, so these connections fail:",
      el("p", {}, state.untrusting.map((each) => each.host).join(", "))));
  if (state.failures.length)
    found.push(notice("warn", `${format.times(state.totals.failed, "exchange", "exchanges")} went on
      unthrottled after an error of mitmthrottle's own; the proxy's log has it.`,
    el("ul", {}, ...state.failures.slice(0, 5).map((each) =>
      el("li", {}, `${format.clock(each.time)} ${each.what}`)))));
  if (!state.reader.may_switch)
    found.push(notice("quiet-notice", "You see the rules and your own traffic, and cannot switch.",
      el("p", {}, `Since ${state.reader.why_not}.`)));
  byId("notices").replaceChildren(...found);
}

function otherPolicies() {
  const others = state.store.members.filter((member) => member.other_policy);
  const names = others.slice(0, 3).map((member) => member.name ?? `proxy ${member.id}`);
  if (others.length > names.length) names.push(`${others.length - names.length} more`);
  return `${names.join(", ")} ${others.length === 1 ? "has" : "have"}`;
}

function hintDetails() {
  const seen = state.hosts_seen.map((each) => `${each.host} (${each.requests})`);
  const wanted = state.hosts_wanted;
  if (state.hint.kind === "no-traffic")
    return [el("p", {}, "Or use the ", el("a", { href: "/proxy.pac" }, "settings file"),
      ", which sends only what the policy could slow through the proxy. For HTTPS the device has to trust the ",
      el("a", { href: "/ca.pem" }, "proxy's authority"), ".")];
  if (!["other-hosts", "conditions"].includes(state.hint.kind) || !seen.length) return [];
  return [el("dl", { class: "pair" }, el("div", {}, el("dt", {}, "asked for"), el("dd", {}, seen.join(", "))),
    el("div", {}, el("dt", {}, "in the rules"), el("dd", {}, wanted.join(", ") || "any")))];
}

async function showPolicy() {
  const answer = await fetch("/api/policy");
  const { text: source } = await answer.json();
  const starts = new Map(state.rules.map((rule) => [rule.line, rule.name]));
  const lines = source === null ? [] : source.replace(/\n$/, "").split("\n");
  text(byId("policy-file"), state.policy?.file ?? "");
  byId("policy-text").replaceChildren(...lines.map((line, index) => {
    const number = index + 1;
    const node = el("li", { id: `line-${number}`, tabindex: "-1" }, el("code", {}, line || " "));
    if (starts.has(number)) node.className = "starts";
    return node;
  }));
  byId("policy-text").parentElement.hidden = !lines.length;
  const missing = state.policy
    ? "The file's text is not shown: it is too long, or not yours to see."
    : "No policy is loaded.";
  text(byId("policy-empty"), lines.length ? "" : missing);
}

// -- switching

async function onSwitch(name, knob) {
  if (!state.reader.may_switch) {
    say(`Read-only: ${state.reader.why_not}.`);
    return;
  }
  const off = knob.getAttribute("aria-checked") === "true";
  const file = state.policy?.file ?? "the policy file";
  text(byId("confirm-title"), off ? `Switch “${name}” off?` : `Switch “${name}” on?`);
  text(byId("confirm-text"), off
    ? `What it slows now runs free at once, and so does what comes. ${file} is not changed: the rule
       is on again when you switch it on here, or when the proxy is started anew.`
    : `It holds again as ${file} says, also for what is under way.`);
  text(byId("confirm-yes"), off ? "Switch off" : "Switch on");
  const dialog = byId("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue === "yes") await flip(name, off);
}

async function flip(name, off) {
  const action = off ? "disable" : "enable";
  try {
    const answer = await fetch(`/api/rules/${encodeURIComponent(name)}?action=${action}`, {
      method: "POST",
      headers: { "X-Throttle-Token": state.reader.token },
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    const undo = el("button", { type: "button", class: "undo" }, "Undo");
    undo.addEventListener("click", () => flip(name, !off));
    say(`“${name}” is ${off ? "off" : "on"}; ${state.policy?.file ?? "the file"} is unchanged. `, undo);
  } catch (fault) {
    say(`“${name}” was not switched: ${fault.message}`);
  }
  ask();
}

ask();
