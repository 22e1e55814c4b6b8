// Kills the server while the official client writes and reads, and restarts it on the same data:
// nothing acknowledged is lost or duplicated, and every reader resumes from its offset.

import assert from "node:assert/strict"
import { setMaxListeners } from "node:events"
import { describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"

import { DurableStream, IdempotentProducer } from "@durable-streams/client"

import { App, BACKENDS, PEER, QUICK_BACKOFF, Reader, readAll } from "./harness.mjs"

const KILLS = 4
const CONTENT_TYPE = "application/json"

/** A fetch that records the items of every successful append. */
function noting(acknowledged, plainFetch) {
  return async (url, init) => {
    const response = await plainFetch(url, init)
    if (response.ok && init?.method === "POST") for (const { n } of JSON.parse(init.body)) acknowledged.add(n)
    return response
  }
}

/**
 * A fetch that retries until a response arrives, and returns every response below 500, because
 * the producer handles some of them itself.
 */
function repeating(signal) {
  return async (url, init) => {
    for (;;) {
      try {
        const response = await fetch(url, { ...init, signal })
        if (response.status < 500) return response
        await response.arrayBuffer()
      } catch (error) {
        if (signal.aborted) throw error
      }
      await sleep(20, null, { signal })
    }
  }
}

/** The value of `promise`, or an error with `what` after a timeout. */
async function within(milliseconds, promise, what) {
  const cancel = new AbortController()
  const late = sleep(milliseconds, null, { signal: cancel.signal }).then(
    () => assert.fail(what()),
    () => {},
  )
  try {
    return await Promise.race([promise, late])
  } finally {
    cancel.abort()
  }
}

/** Writes with the client's idempotent producer, which retries unacknowledged appends. */
async function produce(app, name, { stopped, abandoned }, acknowledged) {
  const handle = new DurableStream({ url: app.internalUrl(name), headers: app.headers, contentType: CONTENT_TYPE })
  const errors = []
  let lastRefusal = "none"
  const producer = new IdempotentProducer(handle, `producer of ${name}`, {
    lingerMs: 1,
    maxInFlight: 5,
    // The producer leaves retries to its fetch.
    fetch: noting(acknowledged, async (url, init) => {
      const response = await repeating(abandoned)(url, init)
      if (!response.ok) {
        const sequence = init.headers["Producer-Seq"] ?? init.headers["producer-seq"]
        const expected = response.headers.get("producer-expected-seq")
        lastRefusal = `${response.status} to sequence number ${sequence}, expected ${expected}`
      }
      return response
    }),
    onError: (error) => errors.push(error),
  })
  let n = 0
  while (!stopped.aborted) {
    producer.append(JSON.stringify({ n: n++ }))
    await sleep(1)
  }
  await within(30_000, producer.flush(), () => `${name}: the producer could not deliver; last refusal: ${lastRefusal}`)
  assert.deepEqual(errors, [])
  return n
}

/** Writes each item once, without retries: an unacknowledged item may be stored or not. */
async function appendOnce(app, name, { stopped, abandoned }, acknowledged) {
  const handle = new DurableStream({
    url: app.internalUrl(name),
    headers: app.headers,
    contentType: CONTENT_TYPE,
    batching: false,
    backoffOptions: { ...QUICK_BACKOFF, maxRetries: 0 },
    fetch: noting(acknowledged, fetch),
    signal: abandoned,
  })
  let n = 0
  while (!stopped.aborted) {
    await handle.append(JSON.stringify({ n: n++ })).catch(() => sleep(10))
  }
  return n
}

for (const backend of BACKENDS.filter((name) => name !== "memory")) {
  describe(`${backend}: killed under writes`, () => {
    test(`${KILLS} times, and nothing acknowledged is lost or there twice`, { timeout: 120_000 }, async () => {
      const app = await App.start(backend)
      const stop = new AbortController()
      const abandon = new AbortController()
      // Every request in flight listens to it.
      setMaxListeners(0, abandon.signal)
      const signals = { stopped: stop.signal, abandoned: abandon.signal }
      let writing = []
      const readers = []
      try {
        const streams = []
        // The official server loses its producers in a crash.
        const writers = PEER ? [appendOnce] : [produce, appendOnce]
        for (const [index, write] of [...writers, ...writers, ...writers].entries()) {
          const name = `gid://app/Crash/${index}/events`
          await DurableStream.create({ url: app.internalUrl(name), headers: app.headers, contentType: CONTENT_TYPE })
          streams.push({ name, write, acknowledged: new Set() })
        }
        for (const { name } of streams) {
          for (const live of ["long-poll", "sse"]) readers.push({ name, reader: new Reader(app.signedUrl(name), live) })
        }
        writing = streams.map(({ name, write, acknowledged }) => write(app, name, signals, acknowledged))

        for (let kill = 0; kill < KILLS; kill++) {
          await sleep(300 + Math.random() * 700)
          await app.server.kill()
          const before = streams.map(({ acknowledged }) => new Set(acknowledged))
          await app.server.start()
          for (const [index, { name }] of streams.entries()) {
            const found = new Set((await readAll(app.signedUrl(name))).map(({ n }) => n))
            const lost = [...before[index]].filter((n) => !found.has(n))
            assert.deepEqual(lost, [], `${name}: acknowledged before kill ${kill + 1}, not there after it`)
          }
        }
        await sleep(300)
        stop.abort()
        const written = await Promise.all(writing)

        for (const [index, { name, write, acknowledged }] of streams.entries()) {
          const found = (await readAll(app.signedUrl(name))).map(({ n }) => n)
          assert.ok(acknowledged.size > 20, `${name}: only ${acknowledged.size} appends were acknowledged`)
          if (write === produce) {
            assert.deepEqual(found, Array.from({ length: written[index] }, (_, n) => n), `${name}: not every item once`)
          } else {
            const sorted = [...new Set(found)].sort((a, b) => a - b)
            assert.deepEqual(found, sorted, `${name}: out of order, or something is there twice`)
            const there = new Set(found)
            assert.deepEqual([...acknowledged].filter((n) => !there.has(n)), [], `${name}: acknowledged and lost`)
          }
          for (const { reader } of readers.filter((entry) => entry.name === name)) {
            await reader.until(({ items }) => items.length >= found.length, `${found.length} items`)
            assert.deepEqual(reader.items.map(({ n }) => n), found, `${name}: the ${reader.live} reader saw something else`)
          }
        }
      } catch (error) {
        error.message += `\nend of the server's log:\n${app.server.logTail()}`
        throw error
      } finally {
        stop.abort()
        abandon.abort()
        await Promise.allSettled(writing)
        await Promise.allSettled(readers.map(({ reader }) => reader.stop()))
        await app.close()
      }
    })
  })
}
