// Over TLS the suite uses undici's fetch, because Node's does not use HTTP/2 by default. It trusts
// only the CA of the server under test.
//
// With the gate on, every request of the suite gets a server token: the suite and its client use
// the global fetch. A request with its own token (a subscription's) keeps it, and requests to other
// servers are unchanged.

import { appendFileSync, readFileSync } from "node:fs"

import { afterEach, beforeEach } from "vitest"

const ca = process.env.CONFORMANCE_CA
if (ca) {
  const { Agent, install, setGlobalDispatcher } = await import("undici")
  install()
  setGlobalDispatcher(new Agent({ allowH2: true, connect: { ca: readFileSync(ca, "utf8") } }))
  // undici 7 never ends the HTTP/2 stream of an empty body, so the server answers 408. Sending no
  // body is equivalent and works.
  const undiciFetch = globalThis.fetch
  globalThis.fetch = (input, init) => {
    if (init?.body !== "" && init?.body?.byteLength !== 0) return undiciFetch(input, init)
    const headers = new Headers(init.headers)
    if (init.body === "" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=UTF-8")
    return undiciFetch(input, { ...init, headers, body: undefined })
  }
}

const baseUrl = process.env.CONFORMANCE_BASE_URL
const token = process.env.CONFORMANCE_TOKEN

if (token) {
  const origin = new URL(baseUrl).origin
  const plainFetch = globalThis.fetch
  globalThis.fetch = (input, init) => {
    const request = input instanceof Request ? input : null
    const url = new URL(request ? request.url : String(input))
    if (url.origin !== origin) return plainFetch(input, init)
    const headers = new Headers(init?.headers ?? request?.headers)
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${token}`)
    return plainFetch(input, { ...init, headers })
  }
}

// While servers are killed, each attempt of a test is written down: run.mjs excuses only those that
// failed while a server was away.
const attempts = process.env.CONFORMANCE_ATTEMPTS
if (attempts) {
  const begins = new Map()
  beforeEach(({ task }) => begins.set(task.id, { begin: Date.now(), failures: task.result?.errors?.length ?? 0 }))
  afterEach(({ task }) => {
    const { begin, failures } = begins.get(task.id)
    const errors = (task.result?.errors ?? []).slice(failures)
    const state = errors.length > 0 ? "fail" : "pass"
    const error = errors.map((error) => error.message).join("\n")
    appendFileSync(attempts, `${JSON.stringify({ name: task.name, state, begin, end: Date.now(), error })}\n`)
  })
}
