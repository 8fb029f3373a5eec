// Nothing is asked of any network after a load: all of it runs in a network namespace of its own, of which the only interface is shut
// down once the models are there. Needs Linux, `ip`, and the right to make namespaces; elsewhere the proxy of package-privacy.test.mjs
// has to do.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { DEVICES, SLOW, launch, open, site } from "./harness.mjs";

const ip = (state) => spawnSync("ip", ["link", "set", "lo", state]).status === 0;

if (!process.env.NETWORK_OF_ITS_OWN) {
  test("with the network cut", SLOW, (t) => {
    const namespace = (...command) => spawnSync("unshare", ["--user", "--map-root-user", "--net", ...command], {
      env: { ...process.env, NETWORK_OF_ITS_OWN: "1", NODE_TEST_CONTEXT: undefined }, encoding: "utf8",
    });
    if (namespace("ip", "link", "set", "lo", "up").status !== 0) return t.skip("this machine lets nobody make a network namespace");
    const { status, stdout, stderr } = namespace(process.execPath, "--test", fileURLToPath(import.meta.url));
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, new RegExp(`^# pass ${DEVICES.length}$`, "m"));
  });
} else {
  let served;
  let browser;

  before(async () => {
    assert.ok(ip("up"));
    served = await site();
    browser = await launch();
  });
  after(async () => {
    ip("up");
    await browser?.close();
    await served?.close();
  });

  const use = async () => {
    const { data } = await encoder.embed(["a secret of mine", "and the boats", "the birds"]);
    const chunks = await encoder.chunk("the boats and the birds ".repeat(20), { size: 20 });
    const labels = await encoder.classify("a secret of mine", { labels: { sea: ["the boats"], sky: ["the birds"] } });
    return [[...data], chunks, labels];
  };
  /** What is sent on a connection that was there before is not refused, but never arrives. */
  const reaches = (page) => page.evaluate(() => fetch("/", { cache: "no-store", signal: AbortSignal.timeout(2000) }).then(({ ok }) => ok, () => false));

  for (const device of DEVICES) {
    test(`on ${device}`, SLOW, async () => {
      const page = await open(browser, served);
      await page.evaluate(async (device) => {
        globalThis.encoder = await embedlet.Encoder.load(new URL("/golden/models/bert-mean", location.href), { device });
      }, device);
      const first = await page.evaluate(use);
      assert.equal(await reaches(page), true);
      assert.ok(ip("down"));
      assert.equal(await reaches(page), false, "the network is gone");
      assert.deepEqual(await page.evaluate(use), first);
      assert.ok(ip("up"));
      assert.equal(await reaches(page), true, "it was the network that was gone");
      await page.close();
    });
  }
}
