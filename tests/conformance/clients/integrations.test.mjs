// Libraries built on streams, against this server: StreamDB, Yjs documents, AI chats.

import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"

import { createDurableChatTransport, toDurableStreamResponse } from "@durable-streams/aisdk-transport"
import { DurableStream } from "@durable-streams/client"
import { createStateSchema } from "@durable-streams/state"
import { createStreamDB } from "@durable-streams/state/db"
import {
  durableStreamConnection,
  materializeSnapshotFromDurableStream,
  toDurableChatSessionResponse,
} from "@durable-streams/tanstack-ai-transport"
import { YjsProvider } from "@durable-streams/y-durable-streams"
import { YjsServer } from "@durable-streams/y-durable-streams/server"
import * as Y from "yjs"

import { App, BACKENDS } from "./harness.mjs"

const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } }

async function until(condition, what, timeout = 20_000) {
  const deadline = Date.now() + timeout
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`waited ${timeout} ms for ${what}`)
    await sleep(20)
  }
}

/** A synchronized document, and a function that closes it. */
async function openDocument(baseUrl, docId) {
  const doc = new Y.Doc()
  const errors = []
  const provider = new YjsProvider({ doc, baseUrl, docId, connect: false })
  provider.on("error", (error) => errors.push(error))
  await provider.connect()
  const text = doc.getText("content")
  return {
    text,
    errors,
    synced: () => until(() => provider.synced, `${docId} to be in sync; errors: ${errors.join("; ")}`),
    close: () => provider.destroy(),
  }
}

for (const backend of BACKENDS) {
  describe(`${backend}: integrations`, () => {
    let app
    before(async () => {
      app = await App.start(backend)
    })
    after(() => app?.close())

    test("StreamDB loads a large stream", { timeout: 60_000 }, async () => {
      const name = "gid://app/State/1"
      const url = app.internalUrl(name)
      const handle = await DurableStream.create({ url, headers: app.headers, contentType: "application/json" })
      const state = createStateSchema({ users: { schema: anything, type: "user", primaryKey: "id" } })
      const value = (n) => ({ id: String(n), name: `user ${n}`, pad: "x".repeat(1000) })
      const events = Array.from({ length: 3000 }, (_, n) => state.users.insert({ value: value(n) }))
      await Promise.all(events.map((event) => handle.append(JSON.stringify(event))))
      const db = createStreamDB({
        streamOptions: { url: app.signedUrl(name), contentType: "application/json" },
        state,
      })
      try {
        await db.preload()
        assert.equal(db.collections.users.size, 3000)
        await handle.append(JSON.stringify(state.users.insert({ value: value(3000) })))
        await until(() => db.collections.users.size === 3001, "the change after the load")
        assert.equal(db.collections.users.get("3000").name, "user 3000")
      } finally {
        db.close()
      }
    })

    test("a Yjs document of more than 1 MiB is compacted and read", { timeout: 120_000 }, async () => {
      const server = new YjsServer({
        port: 0,
        dsServerUrl: app.server.internalUrl,
        dsServerHeaders: app.headers,
      })
      await server.start()
      const baseUrl = `${server.url}/v1/yjs/app`
      const open = []
      try {
        const writer = await openDocument(baseUrl, "book")
        open.push(writer)
        await writer.synced()
        const chapter = (n) => `chapter ${n} \u20ac ${"lorem ipsum ".repeat(5000)}\n`
        // More than one compaction (each at 1 MiB of updates), and updates after the last.
        for (let n = 0; n < 45; n++) {
          writer.text.insert(writer.text.length, chapter(n))
          await sleep(10)
        }
        await writer.synced()
        const written = writer.text.toString()
        assert.ok(written.length > 2_500_000)
        const index = `${app.server.internalUrl}/v1/stream/yjs/app/docs/book/.index`
        await until(async () => (await fetch(index, { headers: app.headers })).ok, "a compaction")
        // A client that starts from the snapshot and gets later updates.
        const reader = await openDocument(baseUrl, "book")
        open.push(reader)
        await reader.synced()
        await until(() => reader.text.length === written.length, "the whole document")
        assert.ok(reader.text.toString() === written)
        for (const part of ["a", "b", "c"]) writer.text.insert(0, part)
        reader.text.insert(reader.text.length, "z")
        const both = () => writer.text.toString() === reader.text.toString()
        await until(() => both() && writer.text.length === written.length + 4, "both to see all")
        assert.deepEqual([writer.errors, reader.errors], [[], []])
      } finally {
        for (const { close } of open) close()
        await server.stop()
      }
    })

    test("an AI SDK chat is written to a stream and read from it", { timeout: 60_000 }, async () => {
      const name = "gid://app/Chat/1"
      const chunks = Array.from({ length: 2000 }, (_, n) => ({ type: "text-delta", id: "1", delta: ` word ${n}\n ` }))
      async function* source() {
        yield* chunks
      }
      const readUrl = app.signedUrl(name)
      const target = { writeUrl: app.internalUrl(name), readUrl, headers: app.headers }
      const transport = createDurableChatTransport({
        api: "http://app.test/api/chat",
        // The app's own endpoints: a new message, and resuming a reply in progress.
        fetchClient: (_url, { method }) =>
          method === "POST"
            ? toDurableStreamResponse({ source: source(), stream: target })
            : Response.json({ streamUrl: readUrl }, { headers: { Location: readUrl } }),
      })
      for (const open of [
        () => transport.sendMessages({ trigger: "submit-message", chatId: "1", messages: [] }),
        () => transport.reconnectToStream({ chatId: "1" }),
      ]) {
        const found = []
        for await (const chunk of await open()) {
          found.push(chunk)
          if (found.length === chunks.length) break
        }
        assert.deepEqual(found, chunks)
      }
    })

    test("a TanStack AI session is replayed and goes on", { timeout: 60_000 }, async () => {
      const name = "gid://app/Chat/2"
      const say = async (id, words) => {
        async function* responseStream() {
          yield { type: "TEXT_MESSAGE_START", messageId: `reply-${id}`, role: "assistant" }
          for (const delta of words) yield { type: "TEXT_MESSAGE_CONTENT", messageId: `reply-${id}`, delta }
          yield { type: "TEXT_MESSAGE_END", messageId: `reply-${id}` }
        }
        const response = await toDurableChatSessionResponse({
          stream: { writeUrl: app.internalUrl(name), headers: app.headers, createIfMissing: true },
          newMessages: [{ id, role: "user", parts: [{ type: "text", content: `question ${id}` }] }],
          responseStream: responseStream(),
          mode: "await",
        })
        assert.ok(response.ok, await response.text())
      }
      const words = Array.from({ length: 3000 }, (_, n) => ` ${"w".repeat(400)}${n}`)
      await say("1", words)
      const snapshot = await materializeSnapshotFromDurableStream({ readUrl: app.signedUrl(name) })
      const reply = JSON.stringify(snapshot.messages)
      assert.ok(reply.includes(words.at(-1)) && reply.includes("question 1"), `only ${reply.length} characters`)

      const stop = new AbortController()
      const connection = durableStreamConnection({ sendUrl: "http://app.test/chat", readUrl: app.signedUrl(name) })
      const seen = []
      const reading = (async () => {
        for await (const chunk of connection.subscribe(stop.signal)) seen.push(chunk)
      })().catch((error) => {
        if (!stop.signal.aborted) throw error
      })
      await until(() => seen[0]?.type === "MESSAGES_SNAPSHOT", "the snapshot")
      assert.ok(JSON.stringify(seen[0]).includes(words.at(-1)))
      await say("2", [" and", " more"])
      await until(() => seen.some(({ delta }) => delta === " more"), "the second reply")
      stop.abort()
      await reading
    })
  })
}
