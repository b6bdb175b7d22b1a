// Builds `dashboard/dist`, which the binary embeds: a page, one script, one style sheet, an icon.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

/** Leaves a compressed twin beside every file, so that the server compresses nothing. */
const twins = {
  name: "gzip-twins",
  closeBundle() {
    const folder = new URL("./dist", import.meta.url).pathname;
    let sum = 0;
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name.endsWith(".gz")) continue;
      const path = join(entry.parentPath, entry.name);
      const packed = gzipSync(readFileSync(path), { level: 9 });
      writeFileSync(`${path}.gz`, packed);
      sum += packed.length;
    }
    console.log(`dashboard: ${(sum / 1000).toFixed(1)} kB compressed`);
    if (sum > 150_000) throw new Error("the dashboard is over 150 kB compressed");
  },
};

export default defineConfig({
  base: "/",
  build: {
    target: "es2023",
    // Nothing inline: the page runs under a strict Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  plugins: [twins],
});
