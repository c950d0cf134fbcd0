// All that a browser lets a page of another site do to the live page. `target` is its origin,
// `rule` the quoted name of the rule to switch.
async ([target, rule]) => {
  const results = {};
  const attempt = async (name, action) => {
    try { results[name] = String(await action()); } catch (fault) { results[name] = "failed"; }
  };
  const read = async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`;
  const off = `${target}/api/rules/${rule}?action=disable`;
  const json = { "content-type": "application/json" };
  await attempt("read", async () => read(await fetch(`${target}/api/state`)));
  const state = `${target}/api/state`;
  await attempt("read opaquely", async () => read(await fetch(state, { mode: "no-cors" })));
  await attempt("read the page", async () => read(await fetch(`${target}/`)));
  await attempt("read with credentials",
    async () => read(await fetch(`${target}/api/state`, { credentials: "include" })));
  await attempt("post", async () => read(await fetch(off, { method: "POST" })));
  await attempt("post simply", async () => read(await fetch(off, { method: "POST", mode: "no-cors" })));
  await attempt("post text", async () => read(await fetch(off,
    { method: "POST", mode: "no-cors", headers: { "content-type": "text/plain" }, body: "{}" })));
  await attempt("post json", async () => read(await fetch(off, { method: "POST", headers: json, body: "{}" })));
  await attempt("post with a token", async () => read(await fetch(off,
    { method: "POST", headers: { "x-throttle-token": "guessed" } })));
  await attempt("beacon", async () => { navigator.sendBeacon(off, "x"); return "failed"; });
  const element = (tag, attributes) => new Promise((done) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.onload = () => done(tag === "iframe" && !made.contentDocument ? "opaque " : "loaded");
    made.onerror = () => done("failed");
    setTimeout(() => done("failed"), 1500);
    document.body.append(made);
  });
  await attempt("script", () => element("script", { src: `${target}/api/state` }));
  await attempt("page's script", () => element("script", { src: `${target}/page.js` }));
  await attempt("image", () => element("img", { src: `${target}/icon.svg` }));
  await attempt("style", () => element("link", { rel: "stylesheet", href: `${target}/page.css` }));
  await attempt("frame", () => element("iframe", { src: `${target}/` }));
  await attempt("form in a frame", async () => {
    const frame = Object.assign(document.createElement("iframe"), { name: "f" });
    const form = Object.assign(document.createElement("form"), { method: "post", action: off, target: "f" });
    document.body.append(frame, form);
    form.submit();
    await new Promise((done) => setTimeout(done, 500));
    return "failed";
  });
  await attempt("window", async () => {
    const opened = window.open(`${target}/`);
    await new Promise((done) => setTimeout(done, 800));
    return opened && opened.document ? `loaded ${opened.document.title}` : "failed";
  });
  return results;
}
