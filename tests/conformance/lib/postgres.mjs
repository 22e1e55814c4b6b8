// A PostgreSQL of its own, and a PgBouncer in front of it, for the runs with several servers.

import { execFileSync, spawn } from "node:child_process"
import { chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs"
import { createConnection } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import { freePort } from "./server.mjs"

const DATABASE = "postgres"
const ROLE = "streams"

/** The folder with initdb and postgres: DURABLE_STREAMS_POSTGRES_BIN, or the newest Debian package. */
function programs() {
  const given = process.env.DURABLE_STREAMS_POSTGRES_BIN
  const packages = "/usr/lib/postgresql"
  const versions = existsSync(packages) ? readdirSync(packages).sort((a, b) => Number(b) - Number(a)) : []
  const found = [given, ...versions.map((version) => join(packages, version, "bin"))].find(
    (path) => path && existsSync(join(path, "initdb")),
  )
  if (!found) throw new Error("PostgreSQL is missing: install the Debian package postgresql")
  return found
}

const isRoot = process.getuid() === 0

/** PostgreSQL and PgBouncer refuse to run as root. */
function asPostgres(command, args) {
  return isRoot ? ["setpriv", ["--reuid=postgres", "--regid=postgres", "--clear-groups", command, ...args]] : [command, args]
}

function own(path) {
  if (!isRoot) return
  const id = (flag) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }))
  chownSync(path, id("-u"), id("-g"))
}

class Daemon {
  constructor(workDir, name) {
    this.dir = join(workDir, name)
    mkdirSync(this.dir, { recursive: true })
    own(this.dir)
    this.logPath = join(this.dir, "log")
  }

  spawn(command, args) {
    const log = openSync(this.logPath, "a")
    this.child = spawn(...asPostgres(command, args), { cwd: this.dir, stdio: ["ignore", log, log] })
    closeSync(log)
    this.exited = new Promise((done) => {
      this.child.once("exit", done)
      this.child.once("error", done)
    })
  }

  async listening() {
    const deadline = Date.now() + 30_000
    while (Date.now() < deadline && this.child.exitCode === null) {
      const open = await new Promise((done) => {
        const socket = createConnection(this.port, "127.0.0.1", () => done(true))
        socket.once("error", () => done(false))
        socket.once("connect", () => socket.destroy())
      })
      if (open) return
      await sleep(20)
    }
    throw new Error(`${this.dir} does not listen:\n${readFileSync(this.logPath, "utf8")}`)
  }

  get url() {
    return `postgres://${ROLE}@127.0.0.1:${this.port}/${DATABASE}?sslmode=disable`
  }
}

export class Postgres extends Daemon {
  constructor(workDir) {
    super(workDir, "postgres")
    this.bin = programs()
    this.data = join(this.dir, "data")
  }

  #run(name, args) {
    const [command, all] = asPostgres(join(this.bin, name), args)
    return execFileSync(command, all, { cwd: this.dir, stdio: ["ignore", "ignore", "pipe"] })
  }

  async start() {
    this.port ??= await freePort()
    this.#run("initdb", ["-D", this.data, "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
    const settings = {
      listen_addresses: "127.0.0.1",
      // The path of a socket may be too long.
      unix_socket_directories: "",
      max_connections: 200,
      deadlock_timeout: "200ms",
    }
    const given = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
    this.#run("pg_ctl", [
      ...["-D", this.data, "-l", this.logPath, "-w"],
      ...["-o", `-p ${this.port} ${given.join(" ")}`, "start"],
    ])
    this.version = readFileSync(join(this.data, "PG_VERSION"), "utf8").trim()
  }

  async stop() {
    if (this.version) this.#run("pg_ctl", ["-D", this.data, "-m", "immediate", "-w", "stop"])
  }

  /** What must not be in its log after any run. */
  problems() {
    const lines = readFileSync(this.logPath, "utf8").split("\n")
    return lines.filter((line) => /deadlock detected|PANIC/.test(line)).map((line) => `PostgreSQL: ${line}`)
  }
}

export class PgBouncer extends Daemon {
  /** @param {"session"|"transaction"} mode */
  constructor(workDir, postgres, mode) {
    super(workDir, `pgbouncer-${mode}`)
    this.postgres = postgres
    this.mode = mode
  }

  async start() {
    this.port ??= await freePort()
    const config = join(this.dir, "pgbouncer.ini")
    const users = join(this.dir, "users.txt")
    writeFileSync(users, `"${ROLE}" ""\n`)
    writeFileSync(
      config,
      [
        "[databases]",
        `${DATABASE} = host=127.0.0.1 port=${this.postgres.port} dbname=${DATABASE} user=${ROLE}`,
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        `listen_port = ${this.port}`,
        "unix_socket_dir =",
        "auth_type = trust",
        `auth_file = ${users}`,
        `pool_mode = ${this.mode}`,
        "max_client_conn = 500",
        "default_pool_size = 60",
        "ignore_startup_parameters = extra_float_digits,options",
        "",
      ].join("\n"),
    )
    const path = ["/usr/sbin", "/usr/bin"].map((folder) => join(folder, "pgbouncer")).find(existsSync)
    if (!path) throw new Error("PgBouncer is missing: install the Debian package pgbouncer")
    this.spawn(path, [config])
    await this.listening()
  }

  async stop() {
    this.child?.kill("SIGKILL")
    await this.exited
  }
}
