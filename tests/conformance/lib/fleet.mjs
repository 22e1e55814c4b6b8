// Servers on one PostgreSQL behind HAProxy, which sends each request to a random one. Has the
// interface of a Server.

import { spawn } from "node:child_process"
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs"
import { createConnection } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import { PgBouncer, Postgres } from "./postgres.mjs"
import { Server, freePort } from "./server.mjs"

const KILL_INTERVAL_MS = 2_000

export class Fleet {
  /**
   * @param {object} options  as a Server's, and:
   * @param {"session"|"transaction"} [options.pooler]  a PgBouncer between servers and PostgreSQL
   * @param {number} options.servers  how many
   * @param {boolean} [options.kill]  kills one of the servers every two seconds
   */
  constructor(options) {
    this.options = options
    this.dir = options.workDir
    mkdirSync(this.dir, { recursive: true })
    // PostgreSQL runs as another user, and has a folder in it.
    chmodSync(this.dir, 0o711)
    this.killsPath = join(this.dir, "kills.txt")
    writeFileSync(this.killsPath, "")
    this.servers = []
  }

  get publicUrl() {
    return `http://127.0.0.1:${this.port}`
  }

  get privateKey() {
    return this.servers[0].privateKey
  }

  async start() {
    const { binary, gate, pooler, servers } = this.options
    this.postgres = new Postgres(this.dir)
    await this.postgres.start()
    if (pooler) {
      this.pooler = new PgBouncer(this.dir, this.postgres, pooler)
      await this.pooler.start()
    }
    const env = { DS_STORAGE__URL: (this.pooler ?? this.postgres).url }
    for (let number = 0; number < servers; number++) {
      const workDir = join(this.dir, `server-${number}`)
      const keys = this.servers[0]
      this.servers.push(new Server({ binary, mode: "postgres", gate, workDir, env, keys }))
    }
    // All at once: they must agree on who creates the schema.
    await Promise.all(this.servers.map((server) => server.start()))
    await this.#startProxy()
    if (this.options.kill) this.killing = this.#killAgainAndAgain()
  }

  async #startProxy() {
    this.port = await freePort()
    const config = join(this.dir, "haproxy.cfg")
    const servers = this.servers.map(
      (server, number) => `  server s${number} 127.0.0.1:${server.port} check inter 100ms fall 1 rise 1`,
    )
    writeFileSync(
      config,
      [
        "global",
        "  maxconn 1000",
        "defaults",
        "  mode http",
        "  timeout connect 2s",
        "  timeout client 60s",
        "  timeout server 60s",
        // Each request goes to a server of its own.
        "  option http-server-close",
        // A server that does not accept the connection has not got the request.
        "  retries 5",
        // One that dies with a request loses it, and only reads may be repeated.
        "  retry-on conn-failure empty-response",
        "  option redispatch 1",
        "frontend edge",
        `  bind 127.0.0.1:${this.port}`,
        "  default_backend streams",
        "backend streams",
        "  http-request disable-l7-retry unless METH_GET or { method HEAD }",
        "  balance random",
        "  option httpchk GET /readyz",
        ...servers,
        "",
      ].join("\n"),
    )
    const path = ["/usr/sbin", "/usr/bin"].map((folder) => join(folder, "haproxy")).find(existsSync)
    if (!path) throw new Error("HAProxy is missing: install the Debian package haproxy")
    const log = openSync(join(this.dir, "haproxy.log"), "a")
    this.proxy = spawn(path, ["-db", "-f", config], { stdio: ["ignore", log, log] })
    closeSync(log)
    const deadline = Date.now() + 10_000
    while (Date.now() < deadline) {
      const open = await new Promise((done) => {
        const socket = createConnection(this.port, "127.0.0.1", () => (socket.destroy(), done(true)))
        socket.once("error", () => done(false))
      })
      // Also the servers' checks must have passed.
      if (open) return sleep(300)
      await sleep(20)
    }
    throw new Error("HAProxy does not listen")
  }

  async #killAgainAndAgain() {
    for (let number = 0; !this.stopping; number++) {
      await sleep(KILL_INTERVAL_MS)
      if (this.stopping) return
      const server = this.servers[number % this.servers.length]
      const begin = Date.now()
      await server.kill()
      await server.start()
      // Until its check has passed again.
      writeFileSync(this.killsPath, `${begin} ${Date.now() + 300}\n`, { flag: "a" })
    }
  }

  /** When a server was away, in milliseconds since 1970. */
  kills() {
    const lines = readFileSync(this.killsPath, "utf8").trimEnd().split("\n").filter(Boolean)
    return lines.map((line) => line.split(" ").map(Number))
  }

  /** Its child processes; PostgreSQL is a daemon. */
  processes() {
    return [...this.servers.map((server) => server.child), this.proxy, this.pooler?.child].filter(Boolean)
  }

  /** Servers that ended by themselves, and what PostgreSQL's log must not have. */
  problems() {
    const dead = this.servers.filter((server) => server.child?.exitCode !== null || server.child?.signalCode !== null)
    return [...dead.map((server) => `a server died under the tests:\n${server.logTail()}`), ...this.postgres.problems()]
  }

  async stop() {
    this.stopping = true
    await this.killing
    const ended = await Promise.all(this.servers.map((server) => server.stop()))
    this.proxy?.kill("SIGKILL")
    await this.pooler?.stop()
    await this.postgres?.stop()
    return ended.find((result) => result.code !== 0) ?? { code: 0, signal: null }
  }

  logTail() {
    return this.servers.map((server, number) => `server ${number}:\n${server.logTail(30)}`).join("\n")
  }
}
