// Starts and stops the server under test. Each has its own ports, data directory, keys and log
// file, so that several can run at the same time.

import { execFileSync, spawn } from "node:child_process"
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import { join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import { AUDIENCE, ISSUER, generateKeys } from "./tokens.mjs"

export const REPOSITORY = resolve(import.meta.dirname, "../../..")
export const LONG_POLL_TIMEOUT_SECS = 1

/** The server binary: the given one, or the newest build. */
export function findBinary(given) {
  const candidates = given
    ? [resolve(given)]
    : ["debug", "release"].map((profile) => join(REPOSITORY, "target", profile, "durable-streams-server"))
  const found = candidates.find((path) => existsSync(path))
  if (!found) throw new Error(`no server binary at ${candidates.join(" or ")}: run 'cargo build' first`)
  return found
}

const handedOut = new Set()

/** A free port below the ephemeral range. */
export async function freePort() {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = 15000 + Math.floor(Math.random() * 15000)
    if (handedOut.has(port)) continue
    const free = await new Promise((done) => {
      const probe = createServer()
      probe.once("error", () => done(false))
      probe.listen(port, "127.0.0.1", () => probe.close(() => done(true)))
    })
    if (free) {
      handedOut.add(port)
      return port
    }
  }
  throw new Error("found no free port in 200 tries")
}

/** The caller's environment without DS_* settings. */
function cleanEnvironment(extra) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("DS_") && name !== "RUST_LOG")
  return { ...Object.fromEntries(own), ...extra }
}

export class Server {
  /**
   * @param {object} options
   * @param {string} options.binary
   * @param {string} options.workDir  for data, keys and log
   * @param {string} options.mode     memory, acid, file-fast, file-durable or postgres
   * @param {boolean} options.gate    whether tokens are required
   * @param {boolean} [options.internal] whether there is an internal listener
   * @param {boolean} [options.tls]   TLS with HTTP/2 on the public listener; needs an internal one
   * @param {boolean} [options.peer]  the binary is the official Rust server, which has other arguments and no gate
   * @param {Server} [options.keys]   the server whose key pair it has
   * @param {Record<string, string>} [options.env] further settings
   */
  constructor(options) {
    this.options = options
    mkdirSync(options.workDir, { recursive: true })
    this.logPath = join(options.workDir, "server.log")
    this.dataDir = join(options.workDir, "data")
    if (options.gate && !options.peer) {
      this.verifyKeyPath = options.keys?.verifyKeyPath ?? join(options.workDir, "verify_key.pem")
      this.privateKey = options.keys?.privateKey ?? generateKeys(this.verifyKeyPath)
    }
    if (options.tls) this.#makeCertificate()
  }

  /** Creates a self-signed certificate. */
  #makeCertificate() {
    this.certPath = join(this.options.workDir, "server.pem")
    this.tlsKeyPath = join(this.options.workDir, "server.key")
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"],
        ...["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        ...["-keyout", this.tlsKeyPath, "-out", this.certPath],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    )
  }

  get publicUrl() {
    return `${this.options.tls ? "https" : "http"}://127.0.0.1:${this.port}`
  }

  get internalUrl() {
    return this.internalPort ? `http://127.0.0.1:${this.internalPort}` : this.publicUrl
  }

  /** Starts the server and waits until it answers. A restart keeps ports, keys and data. */
  async start() {
    this.port ??= await freePort()
    if (this.options.internal && !this.options.peer) this.internalPort ??= await freePort()
    const { args, env } = this.options.peer ? this.#peerSettings() : this.#settings()
    const log = openSync(this.logPath, "a")
    this.child = spawn(this.options.binary, args, {
      env: cleanEnvironment(env),
      cwd: this.options.workDir,
      stdio: ["ignore", log, log],
    })
    closeSync(log)
    this.exited = new Promise((done) => {
      this.child.once("exit", (code, signal) => done({ code, signal }))
      this.child.once("error", (error) => done({ code: null, signal: null, error }))
    })
    await this.#ready()
  }

  #settings() {
    const { mode, gate, internal, tls, env } = this.options
    return {
      args: ["serve"],
      env: {
        DS_SERVER__BIND_ADDRESS: `127.0.0.1:${this.port}`,
        DS_STORAGE__MODE: mode,
        // The suite's receivers are on this machine.
        DS_WEBHOOKS__ALLOW_LOCAL_HTTP: "true",
        ...(["memory", "postgres"].includes(mode) ? {} : { DS_STORAGE__DATA_DIR: this.dataDir }),
        DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS: String(LONG_POLL_TIMEOUT_SECS),
        ...(gate
          ? { DS_AUTH__VERIFY_KEY: this.verifyKeyPath, DS_AUTH__ISSUER: ISSUER, DS_AUTH__AUDIENCE: AUDIENCE }
          : {}),
        ...(internal
          ? {
              DS_INTERNAL__BIND: "127.0.0.1",
              DS_INTERNAL__PORT: String(this.internalPort),
              DS_INTERNAL__ALLOWED_IPS: "127.0.0.0/8",
            }
          : {}),
        ...(tls
          ? {
              DS_TRANSPORT__MODE: "tls",
              DS_TRANSPORT__HTTP__VERSIONS: "http1,http2",
              DS_TRANSPORT__TLS__ALPN_PROTOCOLS: "http/1.1,h2",
              DS_TRANSPORT__TLS__CERT_PATH: this.certPath,
              DS_TRANSPORT__TLS__KEY_PATH: this.tlsKeyPath,
              // Logs the HTTP version of each request.
              RUST_LOG: "info,durable_streams_server::access=debug",
              DS_OBSERVABILITY__FORMAT: "json",
            }
          : {}),
        ...env,
      },
    }
  }

  #peerSettings() {
    const { mode } = this.options
    return {
      args: [
        ...["--host", "127.0.0.1", "--port", String(this.port), "--data-dir", this.dataDir],
        ...["--long-poll-timeout-ms", String(LONG_POLL_TIMEOUT_SECS * 1000)],
        ...["--durability", mode === "memory" ? "memory" : "wal"],
      ],
      env: {},
    }
  }

  async #ready() {
    const deadline = Date.now() + 30_000
    let ended = null
    this.exited.then((result) => (ended = result))
    while (Date.now() < deadline) {
      if (ended) {
        const how = ended.error?.message ?? (ended.signal ? `signal ${ended.signal}` : `exit code ${ended.code}`)
        throw new Error(`the server stopped while starting (${how}):\n${this.logTail()}`)
      }
      try {
        const response = await fetch(`${this.internalUrl}/readyz`, { signal: AbortSignal.timeout(2000) })
        await response.arrayBuffer()
        // The official server has no health checks: any response means that it listens.
        if (response.ok || this.options.peer) return
      } catch {
        // not listening yet
      }
      await sleep(20)
    }
    throw new Error(`the server did not answer within 30 s:\n${this.logTail()}`)
  }

  /** Kills the server. */
  async kill() {
    if (!this.child) return
    this.child.kill("SIGKILL")
    await this.exited
  }

  /** Stops the server, and kills it if that fails. Returns how it ended. */
  async stop() {
    if (!this.child) return { code: 0, signal: null }
    this.child.kill("SIGTERM")
    const result = await Promise.race([this.exited, sleep(30_000, null, { ref: false })])
    if (result) return result
    await this.kill()
    return { code: null, signal: "SIGKILL", error: new Error("did not stop within 30 s of SIGTERM") }
  }

  /** How it ended, if it did so by itself. */
  problems() {
    const ended = this.child.exitCode !== null || this.child.signalCode !== null
    return ended ? ["the server died under the tests"] : []
  }

  /** The access log entries; only with `tls`. */
  accessLog() {
    const lines = readFileSync(this.logPath, "utf8").split("\n")
    return lines.filter((line) => line.includes('"message":"answered"')).map((line) => JSON.parse(line))
  }

  logTail(lines = 60) {
    if (!existsSync(this.logPath)) return "(no log)"
    return readFileSync(this.logPath, "utf8").trimEnd().split("\n").slice(-lines).join("\n")
  }
}
