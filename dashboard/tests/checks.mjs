// What is checked: every page, and every action on it.

import { KEY, api, assert, assertEqual, axe, openPage, signIn, visit } from "./support.mjs";

/** The newest job of the demo. */
async function newestJob({ demo }, status) {
  for (;;) {
    const { jobs } = await api(demo.origin, "GET", `/api/v1/jobs?limit=1${status ? `&status=${status}` : ""}`);
    if (jobs.length > 0) return jobs[0].id;
  }
}

/** Every page with its address, and what must be seen on it. */
export const PAGES = {
  overview: { hash: "#/", ready: (page) => page.getByRole("heading", { name: "Endpoints" }).waitFor() },
  nowhere: { hash: "#/nowhere" },
};

const wide = { width: 1440, scheme: "light" };

async function signedIn({ demo, browser }, look = wide) {
  const opened = await openPage(browser, look);
  await signIn(opened.page, demo.origin);
  return opened;
}

const first = {
  async "the page is strict, small and quick"({ demo, browser, picture }) {
    const answer = await fetch(demo.origin);
    const policy = answer.headers.get("content-security-policy");
    assert(policy.includes("default-src 'none'") && !policy.includes("unsafe"), policy);
    const { context, page, faults } = await openPage(browser, wide);
    let sum = 0;
    page.on("response", (response) => {
      sum += Number(response.headers()["content-length"] ?? 0);
      assert(response.url().startsWith(demo.origin), `${response.url()} is not ours`);
    });
    await page.goto(demo.origin);
    await page.getByLabel("API key").waitFor();
    assert(sum > 10_000 && sum < 150_000, `${sum} bytes were sent`);
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    assert(paint < 1_000, `the first paint took ${paint} ms`);
    assertEqual((await axe(page)).join("\n"), "", "axe-core");
    await picture(page, "sign-in");
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "a key signs in, a wrong one does not"({ demo, browser }) {
    const { context, page, faults, tolerated } = await openPage(browser, wide);
    tolerated.add("401");
    await page.goto(demo.origin);
    await page.getByLabel("API key").fill("not-the-key-at-all");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("This key is not valid.").waitFor();
    await page.getByLabel("API key").fill(KEY);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    const [cookie] = await context.cookies();
    assert(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(KEY), "the cookie is not as it should be");
    await page.getByRole("button", { name: /^Sign out/ }).click();
    await page.getByLabel("API key").waitFor();
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "the demo's link signs in and leaves no key behind"({ demo, browser }) {
    const { context, page, faults } = await openPage(browser, wide);
    await page.goto(`${demo.origin}/#key=${KEY}`);
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    assert(!page.url().includes(KEY), page.url());
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert(!kept.includes(KEY), kept);
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "numbers and charts are live"(world) {
    const { context, page, faults } = await signedIn(world);
    await visit(page, "#/");
    await page.locator(".plot canvas").first().waitFor();
    assertEqual(await page.locator(".plot canvas").count(), 4, "charts");
    const done = async () => (await api(world.demo.origin, "GET", "/api/v1/overview")).ended.completed;
    const before = await done();
    // A job of ours is seen to run without a reload.
    await api(world.demo.origin, "POST", "/v2/demo/runsync", { input: { seconds: 0 } });
    assert((await done()) >= before, "jobs are counted");
    await page.getByText(/Nothing waits|jobs? waits?/).first().waitFor();
    await page.getByRole("button", { name: "1 hour" }).click();
    await page.locator(".plot canvas").first().waitFor();
    assertEqual(faults.join("\n"), "", "faults of the page");
    await context.close();
  },

  async "colours can be chosen"(world) {
    const { context, page } = await signedIn(world);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    const button = page.getByRole("button", { name: /^Colours/ });
    await button.click();
    await button.click();
    assert((await ground()) !== light, "dark looks like light");
    await page.reload();
    await page.getByRole("button", { name: "Colours: dark" }).waitFor({ state: "attached" });
    await context.close();
  },
};

const last = {
  async "a server that is away is said to be, and found again"(world) {
    const { context, page, tolerated } = await signedIn(world);
    tolerated.add("");
    process.kill(world.demo.pid, "SIGSTOP");
    try {
      await page.getByText("The server cannot be reached.", { exact: false }).waitFor({ timeout: 20_000 });
      await world.picture(page, "offline");
    } finally {
      process.kill(world.demo.pid, "SIGCONT");
    }
    await page.getByText("Live", { exact: true }).waitFor({ timeout: 20_000 });
    await context.close();
  },
};

export const CHECKS = { first, last };
export { newestJob, signedIn };
