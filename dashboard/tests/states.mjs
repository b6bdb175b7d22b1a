// Every page while it loads, when the server fails, when there is nothing; and what decisions and outputs show.

import { KEY, api, assert, assertEqual, axe, openPage, signIn, visit } from "./support.mjs";

const wide = { width: 1440, scheme: "light" };

const NOTHING_SPENT = { by: "endpoint", since_ms: null, until_ms: null, time_zone: "UTC", total: {}, left_out: 0 };

/** What each page reads first, and what it says when there is nothing. What follows the live stream: `FOLLOWERS`. */
const READS = [
  { hash: "#/jobs", path: "/api/v1/jobs", empty: { jobs: [], next: null }, says: "No such job" },
  // Decisions that came over the live stream are listed too, so that an empty answer is no empty page.
  { hash: "#/decisions", path: "/api/v1/decisions" },
  { hash: "#/decisions?endpoint=demo", path: "/api/v1/why/scale/demo" },
  { hash: "#/endpoints", path: "/api/v1/endpoints/demo" },
  { hash: "#/doctor", path: "/api/v1/doctor", empty: { findings: [], checked: 1 }, says: "Nothing is wrong" },
  { hash: "#/webhooks", path: "/api/v1/webhooks", empty: { webhooks: [], next: null }, says: "No webhook" },
  { hash: "#/keys", path: "/api/v1/keys", empty: { keys: [] }, says: "No key that you may see" },
  { hash: "#/workers", path: "/api/v1/pools", empty: { pools: [], devices: [] }, says: "No endpoint has a pool" },
  { hash: "#/money", path: "/api/v1/cost", empty: { ...NOTHING_SPENT, lines: [] }, says: "Nothing was spent or saved" },
  { hash: "#/money", path: "/api/v1/budget", empty: { caps: [], sources: [], time_zone: "UTC" }, says: "No cap is set" },
  { hash: "#/settings", path: "/api/v1/settings" },
];

/** Pages that show what the server says once a second, and what they say when there is nothing. */
const FOLLOWERS = [
  { hash: "#/", says: ["No endpoint is configured", "No card of this machine takes part", "Nothing had to be decided yet"] },
  { hash: "#/endpoints", says: ["No endpoint is configured"] },
  { hash: "#/money", says: ["Nothing was spent and nothing saved yet"] },
];

/** A card with a driver, as the demo has none. */
const CARD = {
  id: 0, name: "RTX 3090", is_nominal: false, jobs: 2, workers: 1, memory_bytes: 24 * 2 ** 30, memory_used_bytes: 18 * 2 ** 30,
  busy_percent: 97, temperature_c: 71, power_mw: 342_000, quarantine: null,
};

/** Goes to a page by its address; does not wait. */
const go = (page, hash) =>
  page.evaluate((to) => {
    window.location.hash = to;
  }, hash);

/** The stream's answer: one event, and its end. */
const said = (overview) => ({
  contentType: "text/event-stream",
  body: `event: overview\nid: ${overview.last_decision}\ndata: ${JSON.stringify({ overview, decisions: [] })}\n\n`,
});

const PROBLEM = { type: "about:blank", title: "Service Unavailable", status: 503, code: "unavailable", detail: "the store does not answer", hint: "try again in a second" };

/** A silent second of sound, as a WAV file. */
function wav() {
  const data = Buffer.alloc(8_000, 128);
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + data.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8_000, 24);
  head.writeUInt32LE(8_000, 28);
  head.writeUInt16LE(1, 32);
  head.writeUInt16LE(8, 34);
  head.write("data", 36);
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]).toString("base64");
}

/** The first box of an MP4 file: enough to be known as a film. */
function mp4() {
  const box = Buffer.alloc(32);
  box.writeUInt32BE(32, 0);
  box.write("ftypisom", 4);
  box.write("isomiso2avc1mp41", 16);
  return Buffer.concat([box, Buffer.alloc(512)]).toString("base64");
}

export const STATES = {
  async "each page says that it loads, that it failed, and that there is nothing"({ demo, browser }) {
    const { context, page, faults, tolerated } = await openPage(browser, wide);
    tolerated.add("503");
    await signIn(page, demo.origin);
    for (const { hash, path, empty, says } of READS) {
      let mode = "hold";
      let release;
      const held = new Promise((resolve) => {
        release = resolve;
      });
      const is = (url) => url.pathname === path;
      await page.route(is, async (route) => {
        if (mode === "hold") await held;
        if (mode === "empty") return route.fulfill({ json: empty });
        return route.fulfill({ status: 503, contentType: "application/problem+json", json: PROBLEM });
      });
      await go(page, hash);
      await page.locator("main .spinner").first().waitFor();
      mode = "fail";
      release();
      const alert = page.locator("main [role=alert]").filter({ hasText: "the store does not answer" }).first();
      await alert.waitFor();
      assertEqual((await axe(page)).join("\n"), "", `axe-core of ${hash} that failed`);
      if (empty) {
        mode = "empty";
        await alert.getByRole("button", { name: "Try again" }).click();
        await page.locator("main").getByText(says, { exact: false }).first().waitFor();
        assertEqual((await axe(page)).join("\n"), "", `axe-core of ${hash} without anything`);
      }
      await page.unroute(is);
      if (!empty) {
        await alert.getByRole("button", { name: "Try again" }).click();
        await alert.waitFor({ state: "detached" });
      }
      await go(page, "#/");
      await page.getByRole("heading", { name: "Overview" }).waitFor();
    }
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "what follows the server loads, says why nothing comes, and that there is nothing"(world) {
    const { origin } = world.demo;
    const now = await api(origin, "GET", "/api/v1/overview");
    const { context, page, faults, tolerated } = await openPage(world.browser, wide);
    tolerated.add("503");
    let mode = "hold";
    let release;
    const held = new Promise((resolve) => {
      release = resolve;
    });
    let shown = { ...now, endpoints: [], devices: [], money: { ...now.money, total_nano_usd: 0, saved_total_nano_usd: 0 } };
    await page.route(({ pathname }) => pathname === "/api/v1/series", async (route) => {
      if (mode === "hold") await held;
      if (mode === "say") return route.fulfill({ json: { samples: [] } });
      return route.fulfill({ status: 503, contentType: "application/problem+json", json: PROBLEM });
    });
    await page.route(({ pathname }) => pathname === "/api/v1/live", (route) => route.fulfill(said(shown)));
    await page.route(({ pathname }) => pathname === "/api/v1/decisions", (route) => route.fulfill({ json: { decisions: [], next: null } }));
    await page.goto(`${origin}/#key=${KEY}`);
    await page.getByRole("navigation").waitFor();
    for (const { hash } of FOLLOWERS) {
      await go(page, hash);
      await page.locator("main .spinner").first().waitFor();
    }
    mode = "fail";
    release();
    for (const { hash } of FOLLOWERS) {
      await go(page, hash);
      const alert = page.locator("main .state.failed[role=alert]").filter({ hasText: "the store does not answer" }).first();
      await alert.getByRole("button", { name: "Try again" }).waitFor();
      await page.locator("main .banner").getByText("The server answers, but with an error", { exact: false }).waitFor();
      assertEqual((await axe(page)).join("\n"), "", `axe-core of ${hash} that failed`);
      await world.picture(page, `failed${hash.replace("#/", "-")}`);
    }
    mode = "say";
    await page.locator("main .state.failed").first().getByRole("button", { name: "Try again" }).click();
    for (const { hash, says } of FOLLOWERS) {
      await go(page, hash);
      for (const words of says) await page.locator("main").getByText(words, { exact: false }).first().waitFor();
      assertEqual((await axe(page)).join("\n"), "", `axe-core of ${hash} without anything`);
      await world.picture(page, `empty${hash.replace("#/", "-")}`);
    }
    // A card with readings, and a cap that is half spent.
    const alert = { scope: "endpoint", name: "demo", period: "day", threshold_percent: 50, ends_at_ms: now.at_ms + 3_600_000 };
    shown = { ...now, devices: [CARD], budget_alerts: [alert] };
    await go(page, "#/");
    for (const words of ["97 %", "18.0 GiB of 24.0 GiB", "71 °C, 342 W", "50 % spent: the cap on endpoint demo"]) {
      await page.locator("main").getByText(words, { exact: false }).first().waitFor();
    }
    assertEqual((await axe(page)).join("\n"), "", "axe-core of a card with readings");
    await world.picture(page, "card");
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "a decision is pressed on the time line for its reason"(world) {
    const { origin } = world.demo;
    const { context, page, faults } = await openPage(world.browser, wide);
    await signIn(page, origin);
    await visit(page, "#/decisions");
    const bars = page.getByRole("group", { name: "Decisions of the last hour" });
    const bar = bars.getByRole("button", { disabled: false }).first();
    // The demo's burst needs the cloud, and somebody decides that.
    await bar.waitFor({ timeout: 60_000 });
    await bar.focus();
    await page.keyboard.press("Enter");
    assertEqual(await bar.getAttribute("aria-pressed"), "true", "pressed");
    await page.getByRole("heading", { name: /^Decided from/ }).waitFor();
    // Both in one look: the demo decides on.
    await page.waitForFunction(() => {
      const label = document.querySelector(".time-line [aria-pressed=true]").ariaLabel;
      const count = Number(/: (\d+) decisions?:/.exec(label)?.[1]);
      const codes = [...document.querySelectorAll(".decisions .badge")].map((badge) => badge.textContent);
      return count > 0 && codes.length === count && codes.every((code) => label.includes(code));
    });
    await page.locator(".decisions summary").first().click();
    await page.locator(".decisions details[open] .facts").first().waitFor();
    assertEqual((await axe(page)).join("\n"), "", "axe-core");
    await world.picture(page, "time-line");
    await page.getByRole("button", { name: "Show all" }).click();
    await page.getByRole("heading", { name: "All decisions" }).waitFor();
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "sound, film and text of an output are shown"(world) {
    const input = { seconds: 0, sound: wav(), film: mp4(), verse: "a line\nand another" };
    const { id } = await api(world.demo.origin, "POST", "/v2/demo/runsync", { input });
    const { context, page, faults, tolerated } = await openPage(world.browser, wide);
    // The film has no frames: the browser says so, and the page stands.
    tolerated.add("Failed to load resource");
    await signIn(page, world.demo.origin);
    await visit(page, `#/jobs/${id}`);
    await page.locator(".media audio").first().waitFor();
    await page.locator(".media video").first().waitFor();
    const length = () => document.querySelector(".media audio").duration;
    await page.waitForFunction(() => document.querySelector(".media audio").readyState >= 1);
    assertEqual(await page.evaluate(length), 1, "seconds of sound");
    const text = await page.getByLabel("Output, as text").textContent();
    assert(text.includes("a line\\nand another"), text.slice(0, 300));
    assertEqual((await axe(page)).join("\n"), "", "axe-core");
    await world.picture(page, "sound-and-film");
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },
};
