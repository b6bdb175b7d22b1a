// Takes the README's picture: `node tests/picture.mjs BINARY FILE`, a minute of the demo's load.

import { api, openPage, signIn, startBrowser, startDemo, visit } from "./support.mjs";

const [binary, file] = process.argv.slice(2);
const demo = await startDemo(binary, 75);
const { browser, stop } = await startBrowser();
try {
  const { page } = await openPage(browser, { width: 1440, scheme: "light" });
  await signIn(page, demo.origin);
  await visit(page, "#/");
  // The burst is over and the cloud back at zero, while single jobs still come in.
  for (let wasUp = false; ; ) {
    const now = await api(demo.origin, "GET", "/api/v1/overview");
    wasUp ||= now.sample.cloud > 0;
    if (wasUp && now.sample.cloud_workers === 0 && now.running > 0) break;
    await page.waitForTimeout(500);
  }
  await page.waitForTimeout(1_200);
  await page.screenshot({ path: file });
} finally {
  await stop();
  await demo.stop();
}
console.log(`the picture is in ${file}`);
