#!/usr/bin/env node
// Runs the official conformance suite against the server: on every storage backend, with the
// gate off and on, and once over TLS with HTTP/2. Each run has its own server. On PostgreSQL it has
// three, and a random one answers each request.

import { spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"

import { AppServer } from "./lib/app_server.mjs"
import { Fleet } from "./lib/fleet.mjs"
import { LONG_POLL_TIMEOUT_SECS, Server, findBinary } from "./lib/server.mjs"
import { serverToken } from "./lib/tokens.mjs"

const BACKENDS = ["memory", "acid", "file-fast", "file-durable", "postgres"]
// The suite has 338 tests. Fewer mean that some did not run, which must not count as success.
const FEWEST_TESTS = 338
const FLEET_SERVERS = 3
const FEWEST_OF_PEER = 250

const HELP = `usage: node run.mjs [options] [backend ...]

Runs the official conformance suite. Backends: ${BACKENDS.join(", ")} (default: all).

  --gate on|off|both    whether tokens are asked for (default: both)
  --tls on|off|only     the run over TLS with HTTP/2, in memory and with the gate on, while an app
                        server writes to the internal listener (default: on unless backends are named)
  --pooler none|session|transaction|all
                        PgBouncer between servers and PostgreSQL, and its mode (default: none)
  --kill on|off|only    the run in which one of three servers is killed every two seconds (default: off)
  --filter PATTERN      only tests whose names match
  --jobs N              how many runs at a time (default: two a core, as most of a run is waiting)
  --binary PATH         the server (default: target/debug, else target/release)
  --peer                the binary is the official Rust server (crate durable-streams); gate off
  --keep                keep the servers' logs and data
`

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    gate: { type: "string", default: "both" },
    tls: { type: "string" },
    pooler: { type: "string" },
    kill: { type: "string", default: "off" },
    filter: { type: "string" },
    jobs: { type: "string", default: String(2 * availableParallelism()) },
    binary: { type: "string" },
    peer: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
})

function fail(message) {
  console.error(message)
  process.exit(2)
}

if (options.help) {
  console.log(HELP)
  process.exit(0)
}
const backends = positionals.length > 0 ? positionals : BACKENDS
const unknown = backends.filter((name) => !BACKENDS.includes(name))
if (unknown.length > 0) fail(`unknown backend ${unknown.join(", ")}; there are ${BACKENDS.join(", ")}`)
const gates = { on: [true], off: [false], both: [false, true] }[options.gate]
if (!gates) fail(`--gate takes on, off or both, not ${options.gate}`)
const tls = options.tls ?? (positionals.length > 0 || options.peer ? "off" : "on")
if (!["on", "off", "only"].includes(tls)) fail(`--tls takes on, off or only, not ${tls}`)
const poolers = {
  none: [undefined],
  session: ["session"],
  transaction: ["transaction"],
  all: [undefined, "session", "transaction"],
}[options.pooler ?? "none"]
if (!poolers) fail(`--pooler takes none, session, transaction or all, not ${options.pooler}`)
if (!["on", "off", "only"].includes(options.kill)) fail(`--kill takes on, off or only, not ${options.kill}`)
const jobs = Number(options.jobs)
if (!Number.isInteger(jobs) || jobs < 1) fail(`--jobs takes a whole number of at least 1, not ${options.jobs}`)

let binary
try {
  binary = findBinary(options.binary)
} catch (error) {
  fail(error.message)
}

const workDir = mkdtempSync(join(tmpdir(), "durable-streams-conformance-"))
// PostgreSQL runs as another user.
chmodSync(workDir, 0o711)
const running = new Set()
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130))

function runVitest(env, args) {
  return new Promise((done, failed) => {
    const vitest = join(import.meta.dirname, "node_modules/vitest/vitest.mjs")
    const child = spawn(process.execPath, [vitest, "run", ...args], {
      cwd: import.meta.dirname,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    })
    running.add(child)
    let output = ""
    child.stdout.on("data", (data) => (output += data))
    child.stderr.on("data", (data) => (output += data))
    child.once("error", failed)
    child.once("close", (code) => {
      running.delete(child)
      done({ code, output })
    })
  })
}

/** Unexpected entries in the server's log of a run over TLS. */
function protocolProblems(server) {
  const problems = []
  const outside = server.accessLog().filter((line) => line["client.address"] !== AppServer.ADDRESS)
  const older = outside.filter((line) => line["url.path"] !== "/readyz" && line["network.protocol.version"] !== "2")
  if (older.length > 0) problems.push(`${older.length} requests did not come by HTTP/2: ${JSON.stringify(older[0])}`)
  if (outside.length - older.length < FEWEST_TESTS) problems.push(`only ${outside.length - older.length} requests came by HTTP/2`)
  return problems
}

/** The processes to end with this one. */
function processes(server) {
  return server instanceof Fleet ? server.processes() : [server.child]
}

/** Attempts that failed although no server was away meanwhile. */
function inexcusable(attempts, kills) {
  const failed = attempts.filter(({ state, begin, end }) => {
    return state === "fail" && !kills.some(([from, to]) => from < end && begin < to)
  })
  return failed.map(({ name, error }) => `failed while all servers were there: ${name}\n${error}`)
}

/** One line for each attempt of each test. */
function attemptsOf(path) {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, "utf8").trimEnd().split("\n").filter(Boolean)
  return lines.map((line) => JSON.parse(line))
}

/** Runs one backend with the gate on or off; returns its counts and failures. */
async function runOne({ backend, gate, tls = false, pooler, kill = false, servers = 1 }) {
  const how = [servers > 1 && `${servers} servers`, `gate ${gate ? "on" : "off"}`, tls && "TLS, h2", pooler && `PgBouncer ${pooler}`, kill && "kills"]
  const name = [backend, ...how.filter(Boolean)].join(", ")
  const started = Date.now()
  const result = { name, passed: 0, failed: 0, skipped: 0, problems: [], log: "" }
  const dir = join(workDir, name.replaceAll(/[^a-z]+/g, "-"))
  const server =
    backend === "postgres"
      ? new Fleet({ binary, gate, pooler, kill, servers, workDir: dir })
      : new Server({ binary, mode: backend, gate, tls, internal: tls, workDir: dir, peer: options.peer })
  const attempts = join(dir, "attempts.jsonl")
  let app
  try {
    await server.start()
    for (const child of processes(server)) running.add(child)
    if (tls) app = new AppServer(server)
    const report = join(dir, "report.json")
    const { code, output } = await runVitest(
      {
        CONFORMANCE_BASE_URL: server.publicUrl,
        CONFORMANCE_CA: tls ? server.certPath : "",
        CONFORMANCE_TOKEN: gate ? serverToken(server.privateKey) : "",
        CONFORMANCE_LONG_POLL_TIMEOUT_MS: String(LONG_POLL_TIMEOUT_SECS * 1000),
        CONFORMANCE_SUBSCRIPTIONS: options.peer ? "" : "1",
        CONFORMANCE_ATTEMPTS: kill ? attempts : "",
      },
      [
        ...["--reporter=json", `--outputFile=${report}`],
        ...(options.filter ? [`--testNamePattern=${options.filter}`] : []),
      ],
    )
    writeFileSync(join(dir, "vitest.log"), output)
    let counts
    try {
      counts = JSON.parse(readFileSync(report, "utf8"))
    } catch {
      throw new Error(`vitest left no report (exit code ${code}):\n${output.slice(-4000)}`)
    }
    result.passed = counts.numPassedTests
    result.failed = counts.numFailedTests
    result.skipped = counts.numPendingTests
    for (const file of counts.testResults) {
      if (file.status === "failed" && file.assertionResults.length === 0) result.problems.push(file.message)
      for (const test of file.assertionResults.filter((test) => test.status === "failed")) {
        result.problems.push(`${test.fullName}\n${test.failureMessages.join("\n").split("\n").slice(0, 12).join("\n")}`)
      }
    }
    const ran = result.passed + result.failed
    const fewest = options.peer ? FEWEST_OF_PEER : FEWEST_TESTS
    if (ran < fewest && !options.filter) result.problems.push(`only ${ran} tests ran, at least ${fewest} were to`)
    if (ran === 0) result.problems.push("no test ran")
    if (code !== 0 && result.problems.length === 0) result.problems.push(`vitest ended with ${code}:\n${output.slice(-4000)}`)
    result.problems.push(...server.problems())
    if (kill) {
      const kills = server.kills()
      if (kills.length === 0 && !options.filter) result.problems.push("no server was killed")
      result.kills = kills.length
      result.repeated = attemptsOf(attempts).filter(({ state }) => state === "fail").length
      result.problems.push(...inexcusable(attemptsOf(attempts), kills))
    }
  } catch (error) {
    result.problems.push(error.message)
  }
  if (app) result.problems.push(...(await app.stop()), ...(options.filter ? [] : protocolProblems(server)))
  const ended = await server.stop()
  for (const child of processes(server)) running.delete(child)
  if (!options.peer && ended.code !== 0 && result.problems.length === 0) {
    result.problems.push(`the server did not stop cleanly: exit code ${ended.code}, signal ${ended.signal}`)
  }
  if (result.problems.length > 0) {
    result.log = server.logTail()
    // A run without any test counts as one failure.
    if (result.failed === 0) result.failed = 1
  }
  result.seconds = (Date.now() - started) / 1000
  return result
}

function runsOf(backend) {
  const gated = (options.peer ? [false] : gates).map((gate) => ({ backend, gate }))
  if (backend !== "postgres") return gated
  const pooled = gates.flatMap((gate) => poolers.map((pooler) => ({ backend, gate, servers: FLEET_SERVERS, pooler })))
  const killed = pooled.map((run) => ({ ...run, kill: true }))
  const lone = { backend, gate: gates[0] }
  return { on: [lone, ...pooled, ...killed], off: [lone, ...pooled], only: killed }[options.kill]
}

const queue = tls === "only" ? [] : backends.flatMap(runsOf)
if (tls !== "off") queue.push({ backend: "memory", gate: true, tls: true })
const results = []
console.log(`official suite: ${queue.length} runs, ${jobs} at a time, ${binary}`)
await Promise.all(
  Array.from({ length: jobs }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const result = await runOne(next)
      results.push(result)
      const { name, passed, failed, skipped, seconds, kills, repeated } = result
      const killed = kills === undefined ? "" : `, ${kills} kills, ${repeated} attempts repeated`
      console.log(
        `${failed === 0 ? "ok    " : "FAILED"} ${name.padEnd(36)} ${passed} passed, ${failed} failed, ${skipped} skipped${killed} (${seconds.toFixed(1)} s)`,
      )
    }
  }),
)

const failures = results.filter((result) => result.problems.length > 0)
for (const { name, problems, log } of failures) {
  console.log(`\n--- ${name} ---`)
  for (const problem of problems) console.log(`\n${problem}`)
  console.log(`\nend of the server's log:\n${log}`)
}
if (failures.length > 0 || options.keep) console.log(`\nlogs and data: ${workDir}`)
else rmSync(workDir, { recursive: true, force: true })

const total = (key) => results.reduce((sum, result) => sum + result[key], 0)
const [passed, failed, skipped] = [total("passed"), total("failed"), total("skipped")]
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exit(failed === 0 ? 0 : 1)
