// Large streams read by the official clients without live mode: they read once and assume that
// the response is complete.

import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { promisify } from "node:util"

import { DurableStream, stream } from "@durable-streams/client"

import { App, BACKENDS, PYTHON } from "./harness.mjs"

const run = promisify(execFile)
const MESSAGES = 3000
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex")

for (const backend of BACKENDS) {
  describe(`${backend}: read whole`, () => {
    const items = Array.from({ length: MESSAGES }, (_, n) => ({ n, pad: "x".repeat(1000 + (n % 100)) }))
    const binary = randomBytes(5_000_000)
    const text = "\u20ac and a line\n".repeat(200_000)
    const [json, bytes, words] = ["json", "bytes", "words"].map((name) => `gid://app/Large/${name}`)
    let app
    before(async () => {
      app = await App.start(backend)
      const create = (name, contentType) =>
        DurableStream.create({ url: app.internalUrl(name), headers: app.headers, contentType })
      const messages = await create(json, "application/json")
      await Promise.all(items.map((item) => messages.append(JSON.stringify(item))))
      await (await create(bytes, "application/octet-stream")).append(binary)
      await (await create(words, "text/plain")).append(text)
    })
    after(() => app?.close())

    const once = (name, live = false) => stream({ url: app.signedUrl(name), offset: "-1", live })

    test("json, text and body without live mode", async () => {
      const response = await once(json)
      const found = await response.json()
      assert.equal(found.length, MESSAGES)
      assert.deepEqual(found.map(({ n }) => n).sort((a, b) => a - b), items.map(({ n }) => n))
      assert.equal(await (await once(words)).text(), text)
      assert.equal(digest(await (await once(bytes)).body()), digest(binary))
    })

    test("a subscription hears that it is up to date", { timeout: 20_000 }, async () => {
      const response = await once(json)
      let count = 0
      await new Promise((done) => {
        response.subscribeJson((batch) => {
          count += batch.items.length
          if (batch.upToDate) done()
        })
      })
      assert.equal(count, MESSAGES)
    })

    for (const live of ["sse", "long-poll"]) {
      test(`${live} goes on after everything`, { timeout: 20_000 }, async () => {
        const response = await once(json, live)
        let count = 0
        await new Promise((done, failed) => {
          response.subscribeJson((batch) => {
            count += batch.items.length
            if (batch.upToDate) done()
          })
          response.closed.catch(failed)
        })
        response.cancel()
        assert.equal(count, MESSAGES)
      })
    }

    test("Python reads everything too", { timeout: 60_000 }, async () => {
      const script = join(import.meta.dirname, "large.py")
      const { stdout } = await run(PYTHON, [script, ...[json, bytes, words].map((name) => app.signedUrl(name))])
      const found = JSON.parse(stdout)
      assert.deepEqual(found, {
        items: MESSAGES,
        iterated: MESSAGES,
        bytes: digest(binary),
        text: digest(Buffer.from(text)),
      })
    })
  })
}
