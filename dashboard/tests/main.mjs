// Walks through the dashboard in a real browser, before a live demo: `node tests/main.mjs BINARY [FILTER]`.
//
// Every check is a function of `checks.mjs` or a visit of a page in both colours and both widths, and
// ends with a screenshot in `SCREENSHOTS`, where that is set. The last line counts them.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CHECKS, PAGES } from "./checks.mjs";
import { STATES } from "./states.mjs";
import { assertEqual, axe, openPage, overflow, signIn, startBrowser, startDemo, sticksOut, visit } from "./support.mjs";

const [binary, filter = ""] = process.argv.slice(2);
const pictures = process.env.SCREENSHOTS;
const PATIENCE_S = 420;
const LOOKS = [
  { width: 1440, scheme: "light" },
  { width: 1440, scheme: "dark" },
  { width: 375, scheme: "light" },
  { width: 375, scheme: "dark" },
];

const start = performance.now();
// A check that hangs must not hang the gate; what hangs is then the last line.
const patience = setTimeout(() => {
  console.log(`browser: not done after ${PATIENCE_S} s`);
  demo?.kill();
  process.exit(1);
}, PATIENCE_S * 1_000);
let demo;
let passed = 0;
const failed = [];

async function check(name, run) {
  if (!name.includes(filter)) return;
  const began = performance.now();
  try {
    await run();
    passed += 1;
    console.log(`ok      ${name} (${((performance.now() - began) / 1_000).toFixed(1)} s)`);
  } catch (error) {
    failed.push(name);
    console.log(`FAILED  ${name}: ${error.message}`);
  }
}

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

demo = await startDemo(binary, 30);
const { browser, stop } = await startBrowser();
try {
  const world = { demo, browser, picture };
  for (const [name, run] of Object.entries({ ...CHECKS.first, ...STATES })) await check(name, () => run(world));
  for (const look of LOOKS) {
    const { context, page, faults, tolerated } = await openPage(browser, look);
    await signIn(page, demo.origin);
    for (const [name, { hash, ready, tolerates }] of Object.entries(PAGES)) {
      await check(`${name}, ${look.scheme}, ${look.width} px`, async () => {
        if (tolerates) tolerated.add(tolerates);
        await visit(page, typeof hash === "function" ? await hash(world) : hash);
        if (ready) await ready(page);
        await picture(page, `${name}-${look.scheme}-${look.width}`);
        assertEqual(await overflow(page), 0, "pixels wider than the window");
        assertEqual((await sticksOut(page)).join("\n"), "", "what sticks out of its card");
        assertEqual((await axe(page)).join("\n"), "", "axe-core");
        assertEqual(faults.splice(0).join("\n"), "", "faults of the page");
        tolerated.delete(tolerates);
      });
    }
    await context.close();
  }
  for (const [name, run] of Object.entries(CHECKS.last)) await check(name, () => run(world));
} finally {
  await stop();
  await demo.stop();
}
clearTimeout(patience);
const seconds = ((performance.now() - start) / 1_000).toFixed(1);
console.log(`browser: ${passed} checks passed, ${failed.length} failed, in ${seconds} s${failed.length ? `: ${failed.join("; ")}` : ""}`);
process.exitCode = failed.length > 0 ? 1 : 0;
