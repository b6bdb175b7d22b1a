// Walks through the Next.js example in a real browser and prints what it saw as JSON.
//
//     node nextjs.mjs URL FORBIDDEN…
//
// FORBIDDEN are texts (keys) that must be in no request or answer of the page.
import { createRequire } from "node:module";

const dashboard = new URL("../../dashboard/package.json", import.meta.url);
const { chromium } = createRequire(dashboard)("playwright-core");
const [url, ...forbidden] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  const seen = { bars: [], words: [], errors: [], leaks: [], streams: [] };
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("request", (request) => {
    const sent = JSON.stringify([request.url(), request.headers(), request.postData()]);
    if (forbidden.some((text) => sent.includes(text))) seen.leaks.push(request.url());
    if (request.url().includes("/events?")) seen.streams.push(new URL(request.url()).origin);
  });
  page.on("response", async (response) => {
    if (response.url().includes("/events?")) return;
    const body = await response.text().catch(() => "");
    if (forbidden.some((text) => body.includes(text))) seen.leaks.push(response.url());
  });
  // Every value that the bar has, in its order.
  await page.exposeFunction("saw", (bar, words) => {
    if (seen.bars.at(-1) !== bar) seen.bars.push(bar);
    if (seen.words.at(-1) !== words) seen.words.push(words);
  });
  await page.goto(url);
  await page.evaluate(() => {
    new MutationObserver(() => {
      const bar = document.querySelector("progress");
      if (bar) window.saw(bar.value, document.querySelector("section p").textContent);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await page.getByLabel("Prompt").fill("a quiet sea");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("img", { name: "a quiet sea" }).waitFor({ timeout: 60_000 });
  seen.job = await page.locator("section").getAttribute("data-job");
  seen.width = await page.getByRole("img").evaluate((image) => image.decode().then(() => image.naturalWidth));
  // What the app knows by its webhook, for the visitor whose job it is.
  const known = async () => (await page.request.get(`${url}/api/jobs/${seen.job}`)).json();
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    seen.known = await known();
    if (seen.known.status) break;
    await page.waitForTimeout(50);
  }
  process.stdout.write(JSON.stringify({ answer: seen }));
} finally {
  await browser.close();
}
