#!/usr/bin/env node
// Drives a headless Chromium for a test: one JSON object per line in, one per line out.
//
//   {"id":1,"act":"open","page":"alice","url":"..."}     -> {"id":1,"ok":...} or {"id":1,"error":"..."}
//   {"id":2,"act":"do","page":"alice","what":"publish","with":{...}}   an act of harness.js
//
// Acts: open, do, refuse (the next request to a path, with a status), fill, press, screenshot, requests,
// close. It ends with its standard input, and the browser with it. Run it inside a network namespace:
// browsers tell every address they have.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows', '--disable-features=MediaRouter',
];
const WAIT_MS = 15000;

const browser = await chromium.launch({
  executablePath: process.env.ROOMLANE_CHROMIUM || '/usr/bin/chromium',
  args: [...FLAGS, ...(process.env.ROOMLANE_CHROMIUM_FLAGS?.split(' ') ?? [])],
  chromiumSandbox: false,
});
const harness = new URL('./harness.js', import.meta.url).pathname;
const pages = new Map();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function open({ page: name, url, options = {} }) {
  if (pages.has(name)) throw new Error(`there is a page ${name} already`);
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const requests = [];
  page.on('console', (message) => say({ page: name, console: `${message.type()}: ${message.text()}` }));
  page.on('pageerror', (error) => say({ page: name, console: `uncaught: ${error.message}` }));
  page.on('request', (request) => requests.push({
    method: request.method(), url: request.url(), headers: request.headers(), body: request.postData() ?? '',
  }));
  await page.addInitScript({ path: harness });
  const response = await page.goto(url);
  pages.set(name, { page, context, requests });
  return { status: response?.status() ?? 0, version: browser.version() };
}

const acts = {
  open,
  do: ({ page, what, with: given }) =>
    pages.get(page).page.evaluate(([name, options]) => window.harness[name](options), [what, given ?? {}]),
  refuse: ({ page, path, status }) => pages.get(page).page.route(path, (route) => route.fulfill({ status }), { times: 1 }),
  fill: ({ page, label, text }) => pages.get(page).page.getByLabel(label).fill(text),
  press: ({ page, keys }) => keys.reduce((last, key) => last.then(() => pages.get(page).page.keyboard.press(key)), Promise.resolve()),
  focused: ({ page }) => pages.get(page).page.evaluate(() => document.activeElement?.id ?? ''),
  screenshot: ({ page, path }) => pages.get(page).page.screenshot({ path, fullPage: true }).then(() => ({})),
  requests: ({ page }) => pages.get(page).requests,
  close: async ({ page }) => {
    await pages.get(page).context.close();
    pages.delete(page);
  },
};

async function answer(line) {
  const { id, act, ...rest } = JSON.parse(line);
  try {
    say({ id, ok: (await acts[act](rest)) ?? null });
  } catch (error) {
    say({ id, error: String(error.message ?? error) });
  }
}

say({ ready: browser.version() });
for await (const line of createInterface({ input: process.stdin })) answer(line);
await browser.close();
