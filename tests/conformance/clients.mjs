#!/usr/bin/env node
// Runs the tests with the official JavaScript client.

import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"

const HELP = `usage: node clients.mjs [options] [backend ...]

Tests the server with the official JavaScript client. Backends: memory, acid, file-fast,
file-durable (default: all).

  --only reading|crash  one of the two parts
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

const parts = options.only ? [options.only] : ["reading", "crash"]
// Rather a failed run than one that hangs.
const timeout = 15 * 60 * 1000
const { status, signal } = spawnSync(process.execPath, ["--test", "--test-reporter=spec", ...parts.map((part) => `clients/${part}.test.mjs`)], {
  cwd: import.meta.dirname,
  timeout,
  stdio: ["ignore", "inherit", "inherit"],
  env: {
    ...process.env,
    ...(options.binary ? { CLIENTS_BINARY: options.binary } : {}),
    ...(options.peer ? { CLIENTS_PEER: "1" } : {}),
    ...(positionals.length > 0 ? { CLIENTS_BACKENDS: positionals.join(" ") } : {}),
  },
})
if (signal) console.error(`ended by ${signal}`)
process.exit(status ?? 1)
