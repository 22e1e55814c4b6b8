// Shared by the client tests: a server, tokens and URLs as an app issues them, and readers that
// resume from their offset like a browser.

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import { stream } from "@durable-streams/client"

import { Server, findBinary } from "../lib/server.mjs"
import { clientToken, serverToken } from "../lib/tokens.mjs"

export const BINARY = findBinary(process.env.CLIENTS_BINARY)
/** The official Rust server instead of ours; it has no gate and no internal listener. */
export const PEER = process.env.CLIENTS_PEER === "1"
/** A Python with the official client. */
export const PYTHON = process.env.CLIENTS_PYTHON ?? "python3"
export const BACKENDS = (process.env.CLIENTS_BACKENDS ?? "memory acid file-fast file-durable").split(" ")
export const QUICK_BACKOFF = { initialDelay: 20, maxDelay: 250, multiplier: 1.5 }

export class App {
  static async start(mode) {
    const app = new App()
    app.workDir = mkdtempSync(join(tmpdir(), "durable-streams-clients-"))
    app.server = new Server({ binary: BINARY, mode, gate: true, internal: true, peer: PEER, workDir: app.workDir })
    try {
      await app.server.start()
    } catch (error) {
      await app.close()
      throw error
    }
    app.token = PEER ? "none" : serverToken(app.server.privateKey)
    return app
  }

  async close() {
    await this.server.kill()
    rmSync(this.workDir, { recursive: true, force: true })
  }

  /** The URL that app servers write to. */
  internalUrl(name) {
    return `${this.server.internalUrl}/v1/stream/${name}`
  }

  /** The public URL of the stream, without a token. */
  publicUrl(name) {
    return `${this.server.publicUrl}/v1/stream/${name}`
  }

  /** The signed URL for a browser. */
  signedUrl(name, permissions = ["read"]) {
    const token = PEER ? "none" : clientToken(this.server.privateKey, name, permissions)
    return `${this.publicUrl(name)}?token=${token}`
  }

  get headers() {
    return { Authorization: `Bearer ${this.token}` }
  }
}

/** The whole stream, in a single read from the start. */
export async function readAll(url) {
  const response = await stream({ url, offset: "-1", live: false })
  return response.json()
}

/**
 * Reads continuously and resumes from its offset after any interruption, like an app that stores
 * the offset of the last batch it has handled.
 */
export class Reader {
  items = []
  reopened = 0
  closed = false
  #stop = new AbortController()

  constructor(url, live, offset = "-1") {
    this.live = live
    this.offset = offset
    this.done = this.#run(url)
  }

  async #run(url) {
    while (!this.#stop.signal.aborted && !this.closed) {
      try {
        const response = await stream({
          url,
          live: this.live,
          offset: this.offset,
          signal: this.#stop.signal,
          backoffOptions: QUICK_BACKOFF,
          sseResilience: { logWarnings: false },
        })
        response.subscribeJson((batch) => {
          this.items.push(...batch.items)
          this.offset = batch.offset
          if (batch.streamClosed) this.closed = true
        })
        await response.closed
      } catch (error) {
        if (this.#stop.signal.aborted) return
        // A refusal is permanent, so the reader must not hide it by retrying.
        if (error.status >= 400 && error.status < 500) throw error
      }
      this.reopened++
      await sleep(20)
    }
  }

  async until(condition, what, timeout = 20_000) {
    const deadline = Date.now() + timeout
    while (!condition(this)) {
      if (Date.now() > deadline) {
        throw new Error(`${this.live} reader: waited ${timeout} ms for ${what}, has ${this.items.length} items`)
      }
      await Promise.race([sleep(10), this.done])
    }
  }

  async stop() {
    this.#stop.abort()
    await this.done
  }
}
