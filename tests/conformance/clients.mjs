#!/usr/bin/env node
// Runs the tests with the official clients.

import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"

const HELP = `usage: node clients.mjs [options] [backend ...]

Tests the server with the official JavaScript and Python clients, and with what builds on them
(StreamDB, Yjs, AI transports). Backends: memory, acid, file-fast,
file-durable (default: all).

  --only PART           reading, large, integrations or crash
  --binary PATH         the server (default: target/debug, else target/release)
  --peer                the binary is the official Rust server (crate durable-streams)
`

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string" },
    binary: { type: "string" },
    peer: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
})
if (options.help) {
  console.log(HELP)
  process.exit(0)
}

const PARTS = ["reading", "large", "integrations", "crash"]
const parts = options.only ? [options.only] : options.peer ? ["reading", "crash"] : PARTS
const unknown = parts.find((part) => !PARTS.includes(part))
if (unknown) {
  console.error(`unknown part ${unknown}; there are ${PARTS.join(", ")}`)
  process.exit(2)
}

/** A virtual environment with the Python client, created once. */
function python() {
  const environment = join(import.meta.dirname, "node_modules/.python")
  const executable = join(environment, "bin/python")
  const requirements = join(import.meta.dirname, "clients/requirements.txt")
  const steps = [
    ...(existsSync(executable) ? [] : [["python3", "-m", "venv", environment]]),
    [executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements],
  ]
  for (const [command, ...args] of steps) {
    const { status, error } = spawnSync(command, args, { stdio: ["ignore", "ignore", "inherit"] })
    if (status !== 0) {
      console.error(`the Python client could not be installed: ${command} ${args.join(" ")}: ${error ?? `exit code ${status}`}`)
      process.exit(1)
    }
  }
  return executable
}

// Fail rather than hang.
const timeout = 15 * 60 * 1000
const { status, signal } = spawnSync(process.execPath, ["--test", "--test-reporter=spec", ...parts.map((part) => `clients/${part}.test.mjs`)], {
  cwd: import.meta.dirname,
  timeout,
  stdio: ["ignore", "inherit", "inherit"],
  env: {
    ...process.env,
    ...(options.binary ? { CLIENTS_BINARY: options.binary } : {}),
    ...(parts.includes("large") ? { CLIENTS_PYTHON: python() } : {}),
    ...(options.peer ? { CLIENTS_PEER: "1" } : {}),
    ...(positionals.length > 0 ? { CLIENTS_BACKENDS: positionals.join(" ") } : {}),
  },
})
if (signal) console.error(`ended by ${signal}`)
process.exit(status ?? 1)
