// The official client in a typical app: the app server writes on the internal port, browsers read
// by signed URL on the public one.

import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"

import { DurableStream, stream } from "@durable-streams/client"

import { App, BACKENDS, PEER, Reader, readAll } from "./harness.mjs"

const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => ({ n: from + index }))

for (const backend of BACKENDS) {
  describe(`${backend}: written on the internal port, read by signed URL`, () => {
    let app
    before(async () => {
      app = await App.start(backend)
    })
    after(() => app?.close())

    async function create(name) {
      return DurableStream.create({
        url: app.internalUrl(name),
        headers: app.headers,
        contentType: "application/json",
      })
    }

    async function append(handle, items) {
      for (const item of items) await handle.append(JSON.stringify(item))
    }

    test("catch-up reads everything", async () => {
      const name = "gid://app/Room/1/messages"
      const handle = await create(name)
      await append(handle, numbers(0, 50))
      assert.deepEqual(await readAll(app.signedUrl(name)), numbers(0, 50))
    })

    for (const live of ["long-poll", "sse"]) {
      test(`${live} reads what is there and what comes, in order and once`, async () => {
        const name = `gid://app/Room/2/${live}`
        const handle = await create(name)
        await append(handle, numbers(0, 20))
        const reader = new Reader(app.signedUrl(name), live)
        await reader.until(({ items }) => items.length >= 20, "the first 20 items")
        await append(handle, numbers(20, 60))
        await reader.until(({ items }) => items.length >= 60, "all 60 items")
        await reader.stop()
        assert.deepEqual(reader.items, numbers(0, 60))
      })

      test(`${live} goes on from a given offset`, async () => {
        const name = `gid://app/Room/3/${live}`
        const handle = await create(name)
        await append(handle, numbers(0, 10))
        const first = await stream({ url: app.signedUrl(name), offset: "-1", live: false })
        await first.json()
        const reader = new Reader(app.signedUrl(name), live, first.offset)
        await append(handle, numbers(10, 15))
        await reader.until(({ items }) => items.length >= 5, "5 items behind the offset")
        await reader.stop()
        assert.deepEqual(reader.items, numbers(10, 15))
      })

      test(`${live} ends when the stream is closed`, async () => {
        const name = `gid://app/Room/4/${live}`
        const handle = await create(name)
        await append(handle, numbers(0, 3))
        const reader = new Reader(app.signedUrl(name), live)
        await reader.until(({ items }) => items.length >= 3, "3 items")
        await handle.close({ body: JSON.stringify({ n: 3 }) })
        await reader.until(({ closed }) => closed, "the end of the stream")
        await reader.stop()
        assert.deepEqual(reader.items, numbers(0, 4))
      })
    }

    test("a signed URL reads its own stream and does nothing else", { skip: PEER && "the peer has no gate" }, async () => {
      const name = "gid://app/Room/5/messages"
      const handle = await create(name)
      await append(handle, numbers(0, 2))
      await create("gid://app/Room/5/other")
      const signed = app.signedUrl(name)
      const query = new URL(signed).search
      const status = async (url, init) => {
        const response = await fetch(url, init)
        await response.arrayBuffer()
        return response.status
      }
      const json = { "content-type": "application/json" }
      assert.equal(await status(signed), 200)
      assert.equal(await status(signed, { method: "POST", headers: json, body: "[1]" }), 403)
      assert.equal(await status(signed, { method: "PUT", headers: json }), 403)
      assert.equal(await status(signed, { method: "DELETE" }), 403)
      assert.equal(await status(app.publicUrl("gid://app/Room/5/other") + query), 403)
      assert.equal(await status(app.publicUrl("gid://app/Room/5/missing") + query), 403)
      assert.equal(await status(app.publicUrl(name)), 401)
      assert.equal(await status(app.internalUrl(name)), 401)
      assert.deepEqual(await readAll(signed), numbers(0, 2))
    })
  })
}
