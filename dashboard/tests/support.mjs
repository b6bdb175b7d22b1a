// A live demo and a real browser for the checks, and what every check watches.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The key of the demo's server. */
export const KEY = "overspill-demo-key";

/** Starts `overspill demo` and waits for its dashboard's address. */
export async function startDemo(binary, seconds) {
  const demo = spawn(binary, ["demo", "--keep", "--seconds", String(seconds)], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => demo.once("exit", resolve));
  const origin = await new Promise((resolve, reject) => {
    let text = "";
    demo.stderr.setEncoding("utf8").on("data", (piece) => {
      text += piece;
      const [, found] = /dashboard at (http:\/\/[^/]+)\//.exec(text) ?? [];
      if (found) resolve(found);
    });
    ended.then((code) => reject(new Error(`the demo ended with ${code}: ${text}`)));
  });
  return {
    origin,
    pid: demo.pid,
    kill() {
      demo.kill("SIGKILL");
    },
    async stop() {
      demo.kill("SIGCONT");
      demo.kill("SIGTERM");
      await ended;
    },
  };
}

/** A call of the management API, as a script makes it. */
export async function api(origin, method, path, body) {
  const answer = await fetch(origin + path, {
    method,
    headers: { authorization: `Bearer ${KEY}`, ...(body ? { "content-type": "application/json" } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

/** The browser, with a profile of its own that goes with it. */
export async function startBrowser() {
  const profile = mkdtempSync(join(tmpdir(), "overspill-browser-"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--crash-dumps-dir=${profile}`,
    ],
  });
  return {
    browser,
    async stop() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** A page that notes everything that must not happen in it. */
export async function openPage(browser, { width, scheme }) {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 800 : 900 },
    colorScheme: scheme,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  const faults = [];
  const tolerated = new Set();
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && ![...tolerated].some((part) => message.text().includes(part))) {
      faults.push(`console: ${message.text()}`);
    }
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return { context, page, faults, tolerated };
}

/** Signs in and waits for the first news of the server. */
export async function signIn(page, origin) {
  await page.goto(origin);
  await page.getByLabel("API key").fill(KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Live", { exact: true }).waitFor({ state: "attached" });
}

/** Goes to a page by its address and waits until it stands. */
export async function visit(page, hash) {
  await page.evaluate((to) => {
    window.location.hash = to;
  }, hash);
  await page.locator("main h1").first().waitFor();
  await page.locator("main .spinner").first().waitFor({ state: "detached" });
}

/** Traces the browser; in the end, how long each task of a page's main thread kept the processor, in milliseconds. */
export async function startTrace(browser) {
  const session = await browser.newBrowserCDPSession();
  const events = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  await session.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: { includedCategories: ["toplevel", "disabled-by-default-devtools.timeline"], recordMode: "recordContinuously" },
  });
  return {
    async stop() {
      const complete = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
      await session.send("Tracing.end");
      await complete;
      const isMain = (event) => event.name === "thread_name" && event.args.name === "CrRendererMain";
      const threads = new Set(events.filter(isMain).map((event) => `${event.pid}/${event.tid}`));
      const isTask = (event) => event.ph === "X" && /RunTask$/.test(event.name) && threads.has(`${event.pid}/${event.tid}`);
      return events.filter(isTask).map((event) => (event.tdur ?? event.dur) / 1_000);
    },
  };
}

/** What axe-core finds wrong. */
export async function axe(page) {
  if (!(await page.evaluate("typeof axe === 'object'"))) await page.evaluate(AXE);
  const found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
  return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160)).slice(0, 3).join(" | ")}`);
}

/** How far the page is wider than its window. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** What sticks out of its card, where nothing scrolls it. */
export function sticksOut(page) {
  return page.evaluate(() => {
    const isOut = (card, one) => one.getBoundingClientRect().right > card.getBoundingClientRect().right + 1;
    const found = [...document.querySelectorAll(".card")].flatMap((card) =>
      [...card.querySelectorAll("*")].filter((one) => isOut(card, one) && !one.closest(".scroll, pre, .hidden, svg, .uplot")),
    );
    return found.slice(0, 3).map((one) => one.outerHTML.slice(0, 120));
  });
}

export function assert(isTrue, what) {
  if (!isTrue) throw new Error(what);
}

export function assertEqual(seen, expected, what) {
  assert(seen === expected, `${what}: ${JSON.stringify(seen)} instead of ${JSON.stringify(expected)}`);
}
