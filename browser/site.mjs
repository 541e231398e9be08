// A browser that notices what a visitor's browser would complain of.
import { chromium } from "playwright-core";
import { readFileSync, readdirSync } from "node:fs";
import { createHmac } from "node:crypto";
import { join } from "node:path";

// What the Go test says: site and page are addresses, mail is the folder of
// letters, admin and password sign in.
export const setup = JSON.parse(process.argv[2]);

const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

export const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 320, height: 640 } };

export const faults = [];
export const say = (where, what) => {
  faults.push(`${where}: ${what}`);
  console.log(`FAULT ${where}: ${what}`);
};

export const launch = () => chromium.launch({
  executablePath: setup.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
});

// visitor opens a page of somebody's own. Whatever goes wrong on it is a fault;
// page.expects is the statuses that are none.
export async function visitor(browser, name, { size = "desktop", scheme = "light", scripts = true } = {}) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme: scheme, javaScriptEnabled: scripts, hasTouch: size === "phone", acceptDownloads: true, reducedMotion: "reduce", locale: "en-GB", timezoneId: "Asia/Kolkata" });
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  page.who = `${name} (${size}, ${scheme}${scripts ? "" : ", no scripts"})`;
  page.scripts = scripts;
  page.narrow = size === "phone";
  page.expects = new Set();
  const where = () => `${page.who} on ${page.url()}`;
  const expected = (status) => status < 400 || page.expects.has(status);
  page.on("pageerror", (error) => say(where(), `script error: ${error.message}`));
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    const status = message.text().match(/status of (\d+)/);
    if (!status || !expected(+status[1])) say(where(), `console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && ![setup.site, setup.page].includes(url.origin)) say(where(), `asked another host: ${url}`);
  });
  page.on("requestfailed", (request) => {
    // What the browser itself breaks off (a download, a page that is left) is no failure.
    if (request.failure()?.errorText !== "net::ERR_ABORTED") say(where(), `failed: ${request.url()} ${request.failure()?.errorText}`);
  });
  page.on("response", (response) => {
    if (!expected(response.status())) say(where(), `${response.status()} from ${response.url()}`);
  });
  page.on("dialog", (dialog) => dialog.accept());
  if (scripts) {
    await page.addInitScript(() => {
      window.shifted = 0;
      window.shifters = [];
      new PerformanceObserver((list) => list.getEntries().filter((entry) => !entry.hadRecentInput).forEach((entry) => {
        window.shifted += entry.value;
        window.shifters.push(...entry.sources.map(({ node, previousRect: was, currentRect: is }) => `${node?.outerHTML?.slice(0, 120) ?? node?.textContent} ${JSON.stringify(was)} ${JSON.stringify(is)}`));
      })).observe({ type: "layout-shift", buffered: true });
    });
  }
  return page;
}

export const go = (page, path) => page.goto(new URL(path, setup.site).href);

// expecting does something to which the server answers with a status that is
// otherwise a fault.
export async function expecting(page, status, does) {
  page.expects.add(status);
  await does();
  await page.waitForLoadState();
  page.expects.delete(status);
}

// What differs between sizes and schemes; the rest of axe-core's rules is the
// desktop's business.
const ofLooks = ["color-contrast", "target-size", "scrollable-region-focusable", "meta-viewport"];

// inspect looks at the page as it stands: axe-core finds nothing, nothing is
// wider than the window, nothing of its head covers another, and nothing has
// jumped while loading.
export async function inspect(page) {
  if (!page.scripts) return;
  const where = `${page.who} on ${page.url()}`;
  await page.evaluate(axe);
  const options = page.narrow ? { runOnly: { type: "rule", values: ofLooks } } : { rules: { "target-size": { enabled: true } } };
  const { violations } = await page.evaluate((options) => window.axe.run(document, { ...options, resultTypes: ["violations"] }), options);
  for (const violation of violations) {
    // What sticks to the window covers other things for as long as they are scrolled under it.
    const found = violation.nodes.filter((node) => violation.id !== "target-size" || !node.any.some((check) => check.message.includes("obscured")));
    for (const node of found.slice(0, 3)) say(where, `${violation.id} (${violation.impact}): ${node.html.slice(0, 160)} ${node.any.map((c) => c.message).join("; ").slice(0, 200)}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wide > 0) say(where, `${wide} px wider than the window`);
  const covered = await page.evaluate(() => {
    const boxes = [...document.querySelectorAll(".brand span, .top .menu > li")].map((element) => [element.textContent.trim(), element.getBoundingClientRect()]);
    return boxes.flatMap(([a, one], i) => boxes.slice(i + 1).filter(([, two]) => one.left < two.right - 1 && two.left < one.right - 1 && one.top < two.bottom - 1 && two.top < one.bottom - 1).map(([b]) => `${a} and ${b}`));
  });
  if (covered.length) say(where, `on top of each other: ${covered.join(", ")}`);
  const shifted = await page.evaluate(() => window.shifted);
  if (shifted > 0.02 && !page.url().startsWith(setup.page)) // where the page keeps no room for what comes later
    say(where, `layout shift of ${shifted.toFixed(3)}: ${await page.evaluate(() => window.shifters.join(", "))}`);
}

// same fails the journey unless what is there is what should be.
export function same(what, got, want) {
  if (got !== want) throw new Error(`${what} is ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

// signIn uses the form, which must show no fault.
export async function signIn(page, name, password, code) {
  await go(page, "/login");
  await page.getByLabel("Username or e-mail address").fill(name);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("main").getByRole("button", { name: "Sign in" }).click();
  if (code) {
    await page.getByLabel("Code", { exact: true }).fill(code());
    await page.getByRole("main").getByRole("button", { name: "Sign in" }).click();
  }
  await page.getByRole("link", { name: "Sign out" }).waitFor();
}

// letterTo waits for a letter to an address with the pattern in it, and returns
// its first group.
export async function letterTo(address, pattern) {
  for (const until = Date.now() + 20000; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 100))) {
    let names = [];
    try { names = readdirSync(setup.mail); } catch { /* no letter yet */ }
    for (const name of names.sort().reverse()) {
      const text = readFileSync(join(setup.mail, name), "utf8").replace(/=\r?\n/g, "").replace(/=3D/g, "=");
      const found = text.includes(address) && text.match(pattern);
      if (found) return found[1];
    }
  }
  throw new Error(`no letter to ${address} with ${pattern}`);
}

// totp is a six-digit code (RFC 6238) of a secret in Base32; ahead is in steps
// of 30 seconds, as a code is taken once.
export function totp(secret, ahead = 0) {
  let bits = "";
  for (const c of secret.replace(/[\s=]/g, "")) bits += "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + ahead));
  const hash = createHmac("sha1", key).update(counter).digest();
  const at = hash[19] & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1e6).padStart(6, "0");
}
